"""Starts depth_pro with the preset for octomap_server, and octomap_server beside it.

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
    preset = PathJoinSubstitution([share, 'config', 'octomap.yaml'])
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, 'launch', 'depth_pro.launch.py'])
                ),
                launch_arguments={'preset': preset}.items(),
            ),
            Node(
                package='octomap_server',
                executable='octomap_server_node',
                name='octomap_server',
                namespace=LaunchConfiguration('namespace'),
                parameters=[preset],
                remappings=[('cloud_in', 'depth_pro/points')],
                output='screen',
            ),
        ]
    )
