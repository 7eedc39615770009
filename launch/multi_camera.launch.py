"""Starts one depth_pro node for several cameras, which share one network.

    ros2 launch depth_pro_ros multi_camera.launch.py cameras:="[front, left, rear]"

A camera's topics are below its name: front/image_raw and front/camera_info in, ~/front/depth/image
and the others out. `image` and `camera_info` give the names below it that the drivers use.
Every argument of depth_pro.launch.py is one of this file too. The names are an argument and not of
params_file, since the topics follow from them.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from depth_pro_ros.ros.launching import depth_pro, scoped


def generate_launch_description() -> LaunchDescription:
    """Gives the description that `ros2 launch` runs."""
    arguments = {
        'cameras': ('[front, left, rear]', 'names of the cameras'),
        'image': ('image_raw', 'image topic below the name of a camera'),
    }
    return scoped(
        *(
            DeclareLaunchArgument(name, default_value=default, description=text)
            for name, (default, text) in arguments.items()
        ),
        depth_pro(),
    )
