"""Starts depth_pro with the preset for Nav2.

Nav2 itself is launched as always, with the second half of config/nav2.yaml in its parameters.
It needs the transform from its base to the frame of the images at their stamps.
Every argument of depth_pro.launch.py is one of this file too.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    share = FindPackageShare('depth_pro_ros')
    preset = PathJoinSubstitution([share, 'config', 'nav2.yaml'])
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([share, 'launch', 'depth_pro.launch.py'])
                ),
                launch_arguments={'preset': preset}.items(),
            ),
        ]
    )
