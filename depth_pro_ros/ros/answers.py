"""Depth as the messages that somebody subscribes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from depth_pro_ros.camera import Intrinsics, depth_to_millimetres
from depth_pro_ros.compressed_depth import FORMATS, encode_depth
from depth_pro_ros.images import colorize_depth, depth_range
from depth_pro_ros.ros import messages
from depth_pro_ros.ros.parameters import NodeParameters


def publish_depth(
    publish: Callable[[str, Any], None],
    wanted: set[str],
    header: Header,
    depth_m: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    camera: Intrinsics,
    parameters: NodeParameters,
    clouds: messages.Clouds,
) -> None:
    """Publish the wanted ones of the outputs of a depth map (H, W) and its picture (H, W, 3).

    publish: takes the name of an output and its message.
    """
    if wanted & {'depth', 'compressed_depth'}:
        encoding = parameters.depth_encoding
        image = depth_to_millimetres(depth_m) if encoding == '16UC1' else depth_m
        if 'depth' in wanted:
            publish('depth', messages.image_message(header, image, encoding))
        if 'compressed_depth' in wanted:
            data = encode_depth(image)
            message = messages.compressed_message(header, FORMATS[encoding], data)
            publish('compressed_depth', message)
    if 'points' in wanted:
        stride = parameters.cloud_stride
        publish('points', clouds.message(header, depth_m, rgb, camera, stride))
    if wanted & {'color', 'compressed_color'}:
        colors = colorize_depth(depth_m, *depth_range(depth_m))
        if 'color' in wanted:
            publish('color', messages.image_message(header, colors, 'rgb8'))
        if 'compressed_color' in wanted:
            publish('compressed_color', messages.jpeg_message(header, colors))
