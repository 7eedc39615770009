"""Starts depth_pro with the preset for depthimage_to_laserscan, and that node beside it.

The scan is in output_frame: give it a transform, with x ahead and z up.
Every argument of depth_pro.launch.py but `cameras` is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription

from depth_pro_ros.ros.launching import consumer, depth_pro, scoped, shared


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    preset = shared('config', 'laserscan.yaml')
    return scoped(
        depth_pro(preset=preset),
        consumer(
            package='depthimage_to_laserscan',
            executable='depthimage_to_laserscan_node',
            name='depthimage_to_laserscan',
            preset=preset,
            remappings=[
                ('depth', 'depth_pro/depth/image'),
                ('depth_camera_info', 'depth_pro/depth/camera_info'),
            ],
        ),
    )
