"""Starts one depth_pro node for several cameras, which share one network.

    ros2 launch depth_pro_ros multi_camera.launch.py cameras:="[front, left, rear]"

A camera's topics are below its name: front/image and front/camera_info in, ~/front/depth/image and
the others out. `image` and `camera_info` give the names below it that the drivers use.
"""

from __future__ import annotations

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    arguments = {
        'cameras': ('[front, left, rear]', 'names of the cameras'),
        'image': ('image_raw', 'image topic below the name of a camera'),
        'camera_info': ('camera_info', 'CameraInfo topic below the name of a camera'),
        'namespace': ('', 'namespace of the node and its topics'),
        'params_file': ('', 'YAML file with parameters of the node'),
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in arguments.items()
            ),
            OpaqueFunction(function=node),
        ]
    )


def node(context: LaunchContext) -> list[Node]:
    """Gives the node with its cameras' topics remapped."""
    values = {
        name: LaunchConfiguration(name).perform(context)
        for name in ('cameras', 'image', 'camera_info', 'params_file')
    }
    cameras = [str(camera) for camera in yaml.safe_load(values['cameras'])]
    remappings = []
    for camera in cameras:
        remappings += [
            (f'{camera}/image', f'{camera}/{values["image"]}'),
            (f'{camera}/image/compressed', f'{camera}/{values["image"]}/compressed'),
            (f'{camera}/camera_info', f'{camera}/{values["camera_info"]}'),
        ]
    parameters = [values['params_file']] if values['params_file'] else []
    return [
        Node(
            package='depth_pro_ros',
            executable='depth_pro_node',
            name='depth_pro',
            namespace=LaunchConfiguration('namespace'),
            parameters=[*parameters, {'cameras': cameras}],
            remappings=remappings,
            output='screen',
        )
    ]
