"""What the launch files share. Only they import it: `launch` comes with a ROS installation."""

from __future__ import annotations

from collections.abc import Sequence

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def shared(*path: str) -> Substitution:
    """Gives the path of a file that the package installs in its share folder."""
    return PathJoinSubstitution([FindPackageShare('depth_pro_ros'), *path])


def depth_pro(**arguments: SomeSubstitutionsType) -> IncludeLaunchDescription:
    """Includes depth_pro.launch.py, whose arguments become arguments of the launch file."""
    source = PythonLaunchDescriptionSource(shared('launch', 'depth_pro.launch.py'))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def consumer(
    package: str,
    executable: str,
    name: str,
    preset: Substitution,
    remappings: Sequence[tuple[SomeSubstitutionsType, SomeSubstitutionsType]],
) -> Node:
    """Gives a node that takes depth, in the namespace of depth_pro and with its part of a preset.

    remappings: of its topics, to those of depth_pro.
    """
    return Node(
        package=package,
        executable=executable,
        name=name,
        namespace=LaunchConfiguration('namespace'),
        parameters=[preset],
        remappings=remappings,
        output='screen',
    )
