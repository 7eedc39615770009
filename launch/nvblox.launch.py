"""Starts depth_pro with the preset for nvblox, and nvblox beside it.

It needs the transform from odom to the frame of the images at their stamps.
Every argument of depth_pro.launch.py is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    share = FindPackageShare('depth_pro_ros')
    preset = PathJoinSubstitution([share, 'config', 'nvblox.yaml'])
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, 'launch', 'depth_pro.launch.py'])
                ),
                launch_arguments={'preset': preset}.items(),
            ),
            Node(
                package='nvblox_ros',
                executable='nvblox_node',
                name='nvblox_node',
                namespace=LaunchConfiguration('namespace'),
                parameters=[preset],
                remappings=[
                    ('camera_0/depth/image', 'depth_pro/depth/image'),
                    ('camera_0/depth/camera_info', 'depth_pro/depth/camera_info'),
                    ('camera_0/color/image', LaunchConfiguration('image')),
                    ('camera_0/color/camera_info', 'depth_pro/depth/camera_info'),
                ],
                output='screen',
            ),
        ]
    )
