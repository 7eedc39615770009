"""Starts the depth_pro node and, with rviz:=true, a view of what its first camera gives.

Every parameter of the node is an argument. A value given as an argument wins over params_file,
which wins over preset, which wins over the node's default. With `cameras` given, `image` and
`camera_info` are the names below that of each camera, and so are `range` and `scan`.
"""

from __future__ import annotations

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, TextSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from depth_pro_ros.ros.launching import cameras, clock, scoped, shared
from depth_pro_ros.ros.parameters import constraints, specs

TOPICS = {
    'image': 'image topic',
    'camera_info': 'CameraInfo topic',
    'range': 'Range topic, for scale_anchor: range',
    'scan': 'LaserScan topic, for scale_anchor: scan',
}


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    given: set[str] = set()  # the arguments somebody set, known before the defaults are declared
    return scoped(
        OpaqueFunction(function=lambda context: given.update(context.launch_configurations)),
        *(
            DeclareLaunchArgument(name, default_value=name, description=text)
            for name, text in TOPICS.items()
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
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='',
            choices=('', 'true', 'false', 'True', 'False'),
            description='take the time from /clock, as in a simulation or with a bag',
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
        OpaqueFunction(function=nodes, args=[given]),
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


def parameter_of(text: str, default: object) -> ParameterValue:
    """Gives what an argument's text says, with the type of the default.

    Of numbers in a list, too, whole ones are what people type.
    """
    kind: object = type(default)
    if isinstance(default, list):
        kind, values = list[type(default[0])], yaml.safe_load(text)
        if kind == list[float] and isinstance(values, list):
            text = str([float(each) if type(each) is int else each for each in values])
    return ParameterValue(TextSubstitution(text=text), value_type=kind)


def nodes(context: LaunchContext, given: set[str]) -> list[Node]:
    """Gives the node, with the parameters of the files and on top those given, and RViz."""
    texts = context.launch_configurations
    files = [texts['preset'], texts['params_file']]
    arguments = {
        name: parameter_of(texts[name], default)
        for name, (default, _) in specs().items()
        if name in given and (texts[name] or not isinstance(default, list))
    }
    return [
        Node(
            package='depth_pro_ros',
            executable='depth_pro_node',
            name='depth_pro',
            namespace=LaunchConfiguration('namespace'),
            parameters=[source for source in (*files, arguments, clock(context)) if source],
            remappings=remappings(context),
            output='screen',
        ),
        rviz(context),
    ]


def remappings(context: LaunchContext) -> list[tuple[str, str]]:
    """Gives the topics of every camera; those of a camera with a name are below it."""
    topics = {name: LaunchConfiguration(name).perform(context) for name in TOPICS}
    topics['image/compressed'] = f'{topics["image"]}/compressed'
    return [
        (below + name, below + topic)
        for camera in cameras(context)
        for below in (f'{camera}/' if camera else '',)
        for name, topic in topics.items()
    ]


def rviz(context: LaunchContext) -> Node:
    """Gives RViz, with the absolute topics of its configuration moved to the first camera's."""
    config = shared('config', 'depth_pro.rviz')
    first = cameras(context)[0]
    below = f'{first}/' if first else ''
    outputs = ('depth/image_color', 'depth/image', 'points')
    return Node(
        condition=IfCondition(LaunchConfiguration('rviz')),
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', config, '-f', LaunchConfiguration('fixed_frame')],
        parameters=[clock(context)],
        remappings=[
            ('/image', [below, LaunchConfiguration('image')]),
            *((f'/depth_pro/{topic}', f'depth_pro/{below}{topic}') for topic in outputs),
        ],
    )
