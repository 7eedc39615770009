"""Starts depth_pro with the preset for octomap_server, and octomap_server beside it.

It needs the transform from odom to the frame of the images at their stamps.
Every argument of depth_pro.launch.py but `cameras` is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription

from depth_pro_ros.ros.launching import consumer, depth_pro, scoped, shared


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    preset = shared('config', 'octomap.yaml')
    return scoped(
        depth_pro(preset=preset),
        consumer(
            package='octomap_server',
            executable='octomap_server_node',
            name='octomap_server',
            preset=preset,
            remappings=[('cloud_in', 'depth_pro/points')],
        ),
    )
