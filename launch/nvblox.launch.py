"""Starts depth_pro with the preset for nvblox, and nvblox beside it.

It needs the transform from odom to the frame of the images at their stamps.
Every argument of depth_pro.launch.py but `cameras` is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription

from depth_pro_ros.ros.launching import consumer, depth_pro, scoped, shared


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    preset = shared('config', 'nvblox.yaml')
    return scoped(
        depth_pro(preset=preset),
        consumer(
            package='nvblox_ros',
            executable='nvblox_node',
            name='nvblox_node',
            preset=preset,
            remappings=[
                ('camera_0/depth/image', 'depth_pro/depth/image'),
                ('camera_0/depth/camera_info', 'depth_pro/depth/camera_info'),
                ('camera_0/color/image', 'depth_pro/image_rect'),
                ('camera_0/color/camera_info', 'depth_pro/depth/camera_info'),
            ],
        ),
    )
