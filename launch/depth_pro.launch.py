"""Starts the depth_pro node and, with rviz:=true, a view of what it publishes.

Every parameter of the node is an argument. A value given as an argument wins over params_file,
which wins over preset, which wins over the node's default. With `cameras` given, `image` and
`camera_info` are the names below that of each camera.
"""

from __future__ import annotations

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from depth_pro_ros.ros.launching import shared
from depth_pro_ros.ros.parameters import constraints, specs


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    given: set[str] = set()  # the arguments somebody set, known before the defaults are declared
    return LaunchDescription(
        [
            OpaqueFunction(function=lambda context: given.update(context.launch_configurations)),
            DeclareLaunchArgument('image', default_value='image', description='image topic'),
            DeclareLaunchArgument(
                'camera_info', default_value='camera_info', description='CameraInfo topic'
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='namespace of the node and its topics'
            ),
            DeclareLaunchArgument(
                'params_file', default_value='', description='YAML file with parameters'
            ),
            DeclareLaunchArgument(
                'preset', default_value='', description='YAML file that params_file is put over'
            ),
            *parameter_arguments(),
            DeclareLaunchArgument(
                'rviz',
                default_value='false',
                choices=('true', 'false'),
                description='show image, depth and cloud in RViz',
            ),
            DeclareLaunchArgument(
                'fixed_frame',
                default_value='camera_optical_frame',
                description='frame of the images, in which RViz shows the cloud',
            ),
            OpaqueFunction(function=node, args=[given]),
            rviz(),
        ]
    )


def parameter_arguments() -> list[DeclareLaunchArgument]:
    """Gives a launch argument for every parameter of the node."""
    arguments = []
    for name, (default, spec) in specs().items():
        limits = '' if spec.choices else constraints(spec)
        arguments.append(
            DeclareLaunchArgument(
                name,
                default_value=str(default),
                choices=spec.choices or None,
                description=f'{spec.description} ({limits})' if limits else spec.description,
            )
        )
    return arguments


def launch_type(default: object) -> object:
    """Gives the type that an argument's text is read as."""
    return list[type(default[0])] if isinstance(default, list) else type(default)


def node(context: LaunchContext, given: set[str]) -> list[Node]:
    """Gives the node with the parameters of the files and, on top, those given as arguments."""
    files = [LaunchConfiguration(name).perform(context) for name in ('preset', 'params_file')]
    arguments = {
        name: ParameterValue(LaunchConfiguration(name), value_type=launch_type(default))
        for name, (default, _) in specs().items()
        if name in given
    }
    return [
        Node(
            package='depth_pro_ros',
            executable='depth_pro_node',
            name='depth_pro',
            namespace=LaunchConfiguration('namespace'),
            parameters=[source for source in (*files, arguments) if source],
            remappings=remappings(context),
            output='screen',
        )
    ]


def remappings(context: LaunchContext) -> list[tuple[str, str]]:
    """Gives the topics of every camera; those of a camera with a name are below it."""
    image, info, cameras = (
        LaunchConfiguration(name).perform(context) for name in ('image', 'camera_info', 'cameras')
    )
    pairs = []
    for camera in yaml.safe_load(cameras):
        below = f'{camera}/' if camera else ''
        pairs += [
            (f'{below}image', f'{below}{image}'),
            (f'{below}image/compressed', f'{below}{image}/compressed'),
            (f'{below}camera_info', f'{below}{info}'),
        ]
    return pairs


def rviz() -> Node:
    """Gives RViz, with the absolute topics of its configuration moved into the namespace."""
    config = shared('config', 'depth_pro.rviz')
    outputs = ('depth/image_color', 'depth/image', 'points')
    return Node(
        condition=IfCondition(LaunchConfiguration('rviz')),
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', config, '-f', LaunchConfiguration('fixed_frame')],
        remappings=[
            ('/image', LaunchConfiguration('image')),
            *((f'/depth_pro/{topic}', f'depth_pro/{topic}') for topic in outputs),
        ],
    )
