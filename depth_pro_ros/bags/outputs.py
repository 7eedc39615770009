"""The new topics of a bag, and their messages as `rosbags` writes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.bags.cameras import View
from depth_pro_ros.bags.options import BagOptions
from depth_pro_ros.bags.reading import COMPRESSED, IMAGE, INFO, TYPES
from depth_pro_ros.camera import Intrinsics, limit_depth
from depth_pro_ros.camera_info import pinhole_fields
from depth_pro_ros.compressed_depth import FORMATS, encode_depth
from depth_pro_ros.point_cloud import FIELDS, POINT_STEP, pack_cloud

CLOUD, FIELD = 'sensor_msgs/msg/PointCloud2', 'sensor_msgs/msg/PointField'
FLOAT32 = 7
"""PointField.FLOAT32."""


def output_topics(options: BagOptions) -> dict[str, str]:
    """Give the new topics, those of the node, with their types."""
    topics = {f'{options.namespace}/depth/camera_info': INFO}
    if options.compressed:
        topics[f'{options.namespace}/depth/image/compressedDepth'] = COMPRESSED
    else:
        topics[f'{options.namespace}/depth/image'] = IMAGE
    if options.points:
        topics[f'{options.namespace}/points'] = CLOUD
    return topics


def output_bytes(width: int, height: int, options: BagOptions) -> int:
    """Give the least that the messages for one image take."""
    depth = 0 if options.compressed else 4 * width * height
    stride = options.cloud_stride
    cloud = POINT_STEP * (-(-width // stride)) * (-(-height // stride)) if options.points else 0
    return depth + cloud


def output_messages(
    header: Any, view: View, depth_m: NDArray[np.float32], options: BagOptions
) -> Iterator[tuple[str, bytes]]:
    """Give the type of each new topic with its serialised message for one image.

    header: of the image, which every message carries. depth_m: (H, W), whose range is limited.
    """
    limit_depth(depth_m, options.min_depth, options.max_depth)
    if view.unseen is not None:
        depth_m[view.unseen] = np.nan
    for kind in output_topics(options).values():
        if kind == INFO:
            message = info_message(header, view.intrinsics)
        elif kind == IMAGE:
            message = depth_message(header, depth_m)
        elif kind == COMPRESSED:
            data = np.frombuffer(encode_depth(depth_m), np.uint8)
            message = TYPES.types[kind](header, FORMATS['32FC1'], data)
        else:
            message = cloud_message(header, view, depth_m, options.cloud_stride)
        yield kind, bytes(TYPES.serialize_cdr(message, kind))


def info_message(header: Any, intrinsics: Intrinsics) -> Any:
    """Make the CameraInfo of a pinhole camera without distortion."""
    region = TYPES.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    fields = {key: np.array(value) for key, value in pinhole_fields(intrinsics).items()}
    return TYPES.types[INFO](
        header=header,
        height=intrinsics.height,
        width=intrinsics.width,
        distortion_model='plumb_bob',
        **fields,
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def depth_message(header: Any, depth_m: NDArray[np.float32]) -> Any:
    """Make a 32FC1 Image of depth (H, W) in metres."""
    height, width = depth_m.shape
    return TYPES.types[IMAGE](
        header=header,
        height=height,
        width=width,
        encoding='32FC1',
        is_bigendian=int(sys.byteorder == 'big'),
        step=depth_m.itemsize * width,
        data=depth_m.view(np.uint8).ravel(),
    )


def cloud_message(header: Any, view: View, depth_m: NDArray[np.float32], stride: int) -> Any:
    """Make the organized PointCloud2 of every `stride`-th pixel."""
    packed = pack_cloud(depth_m, view.rgb, view.intrinsics, stride)
    height, width = packed.shape[:2]
    field = TYPES.types[FIELD]
    return TYPES.types[CLOUD](
        header=header,
        height=height,
        width=width,
        fields=[field(name, 4 * i, FLOAT32, 1) for i, name in enumerate(FIELDS)],
        is_bigendian=False,
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        data=packed.view(np.uint8).ravel(),
        is_dense=False,
    )
