"""Starts depth_pro with the preset for Nav2.

Nav2 itself is launched as always, with the second half of config/nav2.yaml in its parameters.
It needs the transform from its base to the frame of the images at their stamps.
Every argument of depth_pro.launch.py is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription

from depth_pro_ros.ros.launching import depth_pro, scoped, shared


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    return scoped(depth_pro(preset=shared('config', 'nav2.yaml')))
