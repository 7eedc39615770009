"""Starts depth_pro with the preset for RTAB-Map, and rtabmap beside it.

It needs the transforms from odom to base_link, which is its odometry, and on to the frame of the
images, at their stamps.
Every argument of depth_pro.launch.py but `cameras` is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription

from depth_pro_ros.ros.launching import consumer, depth_pro, scoped, shared


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    preset = shared('config', 'rtabmap.yaml')
    return scoped(
        depth_pro(preset=preset),
        consumer(
            package='rtabmap_slam',
            executable='rtabmap',
            name='rtabmap',
            preset=preset,
            remappings=[
                ('rgb/image', 'depth_pro/image_rect'),
                ('rgb/camera_info', 'depth_pro/depth/camera_info'),
                ('depth/image', 'depth_pro/depth/image'),
            ],
        ),
    )
