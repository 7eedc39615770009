"""Starts depth_pro with the preset for depthimage_to_laserscan, and that node beside it.

The scan is in output_frame: give it a transform, with x ahead and z up.
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
    preset = PathJoinSubstitution([share, 'config', 'laserscan.yaml'])
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, 'launch', 'depth_pro.launch.py'])
                ),
                launch_arguments={'preset': preset}.items(),
            ),
            Node(
                package='depthimage_to_laserscan',
                executable='depthimage_to_laserscan_node',
                name='depthimage_to_laserscan',
                namespace=LaunchConfiguration('namespace'),
                parameters=[preset],
                remappings=[
                    ('depth', 'depth_pro/depth/image'),
                    ('depth_camera_info', 'depth_pro/depth/camera_info'),
                ],
                output='screen',
            ),
        ]
    )
