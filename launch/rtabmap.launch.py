"""Starts depth_pro with the preset for RTAB-Map, and rtabmap beside it.

It needs odometry on /odom and the transform to the frame of the images.
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
    preset = PathJoinSubstitution([share, 'config', 'rtabmap.yaml'])
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, 'launch', 'depth_pro.launch.py'])
                ),
                launch_arguments={'preset': preset}.items(),
            ),
            Node(
                package='rtabmap_slam',
                executable='rtabmap',
                name='rtabmap',
                namespace=LaunchConfiguration('namespace'),
                parameters=[preset],
                remappings=[
                    ('rgb/image', LaunchConfiguration('image')),
                    ('rgb/camera_info', 'depth_pro/depth/camera_info'),
                    ('depth/image', 'depth_pro/depth/image'),
                ],
                output='screen',
            ),
        ]
    )
