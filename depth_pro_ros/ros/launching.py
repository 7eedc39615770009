"""What the launch files share. Only they import it: `launch` comes with a ROS installation."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from launch.actions import (
    IncludeLaunchDescription,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
)
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def shared(*path: str) -> Substitution:
    """Gives the path of a file that the package installs in its share folder."""
    return PathJoinSubstitution([FindPackageShare('depth_pro_ros'), *path])


def scoped(*entities: LaunchDescriptionEntity) -> LaunchDescription:
    """Describes entities whose arguments and defaults end with them.

    Otherwise whoever includes the file would pass them on to what it includes next.
    """
    return LaunchDescription([PushLaunchConfigurations(), *entities, PopLaunchConfigurations()])


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
) -> OpaqueFunction:
    """Gives a node that takes depth, in the namespace of depth_pro and of the same files and clock.

    remappings: of its topics, to those of depth_pro with a single camera without a name.
    """

    def start(context: LaunchContext) -> list[Node]:
        if any(cameras(context)):
            raise RuntimeError(
                f'{name} takes the depth of one camera without a name: leave `cameras` out, or use '
                f'multi_camera.launch.py and start {name} beside it for each camera'
            )
        own = LaunchConfiguration('params_file', default='').perform(context)
        sources = [preset, own, {'image_transport': 'raw'}, clock(context)]  # all of ours are raw
        return [
            Node(
                package=package,
                executable=executable,
                name=name,
                namespace=LaunchConfiguration('namespace', default=''),
                parameters=[source for source in sources if source],
                remappings=remappings,
                output='screen',
            )
        ]

    return OpaqueFunction(function=start)


def cameras(context: LaunchContext) -> list[str]:
    """Gives the names of the cameras; one empty name where the argument is absent or empty."""
    given = LaunchConfiguration('cameras', default='').perform(context)
    return yaml.safe_load(given) or ['']


def clock(context: LaunchContext) -> dict[str, bool]:
    """Gives the parameter use_sim_time where the argument is given; a file may set it as well."""
    given = LaunchConfiguration('use_sim_time', default='').perform(context)
    return {'use_sim_time': given.lower() == 'true'} if given else {}
