"""What a bag recorded, for training: camera pictures, and the measured depth beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection

from depth_pro_ros.bags.options import BagError
from depth_pro_ros.bags.reading import (
    COMPRESSED,
    IMAGE,
    Bag,
    choose_images,
    listed,
    open_bag,
    parsed,
    picture,
)
from depth_pro_ros.bags.survey import find_info
from depth_pro_ros.camera_info import intrinsics_for_image
from depth_pro_ros.compressed_depth import decode_depth
from depth_pro_ros.decoding import MessageError
from depth_pro_ros.evaluation.frame import Truth

TOGETHER_S = 0.02
"""Pictures and depth of one camera are stamped at most so far apart."""


def bag_pictures(path: Path, topic: str | None = None) -> Iterator[NDArray[np.uint8]]:
    """Give the pictures (H, W, 3) of a bag's camera; damaged ones are left out.

    topic: None takes the only camera. Raises BagError.
    """
    with open_bag(path) as bag:
        for message in bag.messages([choose_images(bag, topic)]):
            try:
                yield picture(parsed(message))
            except (MessageError, ValueError):
                continue


def bag_truths(
    path: Path,
    topic: str | None = None,
    depth_topic: str | None = None,
    focal_px: float | None = None,
) -> Iterator[Truth]:
    """Give the pictures of a bag that have a depth image of the same time.

    topic, depth_topic: None takes the only one. focal_px: None takes the CameraInfo's.
    Raises BagError where there is nothing to pair, or no focal length.
    """
    with open_bag(path) as bag:
        images, depths = choose_images(bag, topic), choose_depth(bag, depth_topic)
        info_topic = None if focal_px else find_info(bag, images, None)
        if not focal_px and not info_topic:
            raise BagError(f'{path} has no CameraInfo beside {images.topic}: give --focal-px')
        info: Any = bag.first(info_topic) if info_topic else None
        newest: dict[str, Any] = {}
        pairs = 0
        for message in bag.messages([images, depths]):
            try:
                newest[message.connection.topic] = parsed(message)
                if (
                    len(newest) < 2
                    or apart_s(newest[images.topic], newest[depths.topic]) > TOGETHER_S
                ):
                    continue
                rgb, depth_m = picture(newest[images.topic]), metres(newest[depths.topic])
            except (MessageError, ValueError):
                continue
            newest.clear()
            pairs += 1
            height, width = rgb.shape[:2]
            focal = focal_px or intrinsics_for_image(info, width, height)[1].fx
            yield Truth(rgb, depth_m, focal)
        if not pairs:
            raise BagError(
                f'{path}: no image on {images.topic} has depth on {depths.topic} '
                f'within {TOGETHER_S} s'
            )


def choose_depth(bag: Bag, topic: str | None) -> Connection:
    """Give the depth topic, or the only one. Raises BagError that lists what there is."""
    depths = [c for c in bag.connections if is_depth(bag, c)]
    chosen = [c for c in depths if topic in (None, c.topic)]
    if len(chosen) == 1:
        return chosen[0]
    if not depths:
        raise BagError(f'{bag.path} has no depth; its topics are:{listed(bag.connections)}')
    raise BagError(f'{bag.path}: choose the depth with --depth-topic:{listed(depths)}')


def is_depth(bag: Bag, connection: Connection) -> bool:
    """Tell whether a connection carries depth images, by its first one."""
    if connection.msgtype not in (IMAGE, COMPRESSED):
        return False
    try:
        metres(bag.first(connection))
    except (MessageError, ValueError):
        return False
    return True


def metres(msg: Any) -> NDArray[np.float32]:
    """Give a depth Image or compressedDepth as (H, W) metres, NaN where nothing was measured.

    Raises ValueError for anything else.
    """
    if msg.__msgtype__ == COMPRESSED:
        if 'compressedDepth' not in msg.format:
            raise ValueError(f"format '{msg.format}' is not depth")
        encoding = '16UC1' if msg.format.startswith('16UC1') else '32FC1'
        depth = decode_depth(bytes(msg.data), encoding)
    elif msg.encoding in ('32FC1', '16UC1'):
        kind = np.dtype('f4' if msg.encoding == '32FC1' else 'u2')
        kind = kind.newbyteorder('>' if msg.is_bigendian else '<')
        rows = np.frombuffer(bytes(msg.data), np.uint8).reshape(msg.height, msg.step)
        packed = np.ascontiguousarray(rows[:, : msg.width * kind.itemsize])
        depth, encoding = packed.view(kind), msg.encoding
    else:
        raise ValueError(f"encoding '{msg.encoding}' is not depth")
    depth_m = depth.astype(np.float32) * (1e-3 if encoding == '16UC1' else 1.0)
    depth_m[~(depth_m > 0) | np.isinf(depth_m)] = np.nan
    return depth_m


def apart_s(one: Any, other: Any) -> float:
    """Give how far apart two messages were stamped."""
    seconds = [msg.header.stamp.sec + 1e-9 * msg.header.stamp.nanosec for msg in (one, other)]
    return abs(seconds[0] - seconds[1])
