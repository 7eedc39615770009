"""What a bag recorded, for training: camera pictures, and the measured depth beside them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from tqdm import tqdm

from depth_pro_ros.bags.options import BagError
from depth_pro_ros.bags.reading import (
    COMPRESSED,
    IMAGE,
    Bag,
    Message,
    Topic,
    choose_images,
    listed,
    open_bag,
    parsed,
    picture,
)
from depth_pro_ros.bags.survey import find_info
from depth_pro_ros.camera_info import camera_for_image, is_calibrated, is_distorted
from depth_pro_ros.compressed_depth import decode_depth
from depth_pro_ros.decoding import MessageError
from depth_pro_ros.evaluation.frame import Truth

TOGETHER_S = 0.02
"""Pictures and depth of one camera are stamped at most so far apart."""


def bag_pictures(
    path: Path, topic: str | None = None, every: int = 1
) -> Iterator[NDArray[np.uint8]]:
    """Give the pictures (H, W, 3) of a bag's camera; damaged ones are told of and left out.

    topic: None takes the only camera. every: takes every Nth picture. Raises BagError.
    """
    with open_bag(path) as bag:
        for number, message in enumerate(bag.messages(choose_images(bag, topic))):
            if number % every == 0 and (rgb := understood(message, picture)) is not None:
                yield rgb


def bag_truths(
    path: Path,
    topic: str | None = None,
    depth_topic: str | None = None,
    focal_px: float | None = None,
    every: int = 1,
) -> Iterator[Truth]:
    """Give the pictures of a bag that have a depth image of the same time, both undamaged.

    topic, depth_topic: None takes the only one. focal_px: None takes the CameraInfo's. every:
    takes every Nth of them. Raises BagError where there is nothing to pair, or no focal length.
    """
    with open_bag(path) as bag:
        images, depths = choose_images(bag, topic), choose_depth(bag, depth_topic)
        check_one_view(bag, images, depths)
        info = None if focal_px else calibration(bag, images[0].topic)
        partner = pairs(stamps(bag, images), stamps(bag, depths))
        if not partner:
            raise BagError(
                f'{path}: no image on {images[0].topic} has depth on {depths[0].topic} '
                f'within {TOGETHER_S} s'
            )
        wanted = dict(list(partner.items())[::every])
        ours = {depth: image for image, depth in wanted.items()}
        waiting: dict[int, Any] = {}
        image_numbers, depth_numbers = itertools.count(), itertools.count()
        for message in bag.messages([*images, *depths]):
            is_image = message.connection in images
            number = next(image_numbers if is_image else depth_numbers)
            pair = number if is_image else ours.get(number)
            if pair not in wanted:
                continue
            value = understood(message, picture if is_image else metres)
            if value is None:
                continue
            if pair not in waiting:
                waiting[pair] = value
                continue
            other = waiting.pop(pair)
            rgb, depth_m = (value, other) if is_image else (other, value)
            yield paired(path, images[0].topic, rgb, depth_m, info, focal_px)


def understood(message: Message, read: Callable[[Any], NDArray[Any]]) -> NDArray[Any] | None:
    """Give what `read` makes of a message; None, and a line about it, where it is damaged."""
    try:
        return read(parsed(message))
    except ValueError as error:
        tqdm.write(f'left out: {message.connection.topic}, {message.time_ns * 1e-9:.3f} s: {error}')
        return None


def paired(
    path: Path,
    topic: str,
    rgb: NDArray[np.uint8],
    depth_m: NDArray[np.float32],
    info: Any,
    focal_px: float | None,
) -> Truth:
    """Give a picture and its depth. Raises BagError where they cannot be of one view."""
    height, width = rgb.shape[:2]
    if abs(width / height * depth_m.shape[0] / depth_m.shape[1] - 1) > 0.01:
        raise BagError(
            f'{path}: pictures of {width}x{height} and depth of '
            f'{depth_m.shape[1]}x{depth_m.shape[0]} are not of one view: record registered depth'
        )
    try:
        focal = focal_px or camera_for_image(info, width, height, topic).fx
    except MessageError as error:
        raise BagError(f'{path}: {error}: give --focal-px') from error
    return Truth(rgb, depth_m, focal)


def check_one_view(bag: Bag, images: Topic, depths: Topic) -> None:
    """Raise BagError where depth is of another frame than the pictures.

    Drivers put registered depth into that of the pictures, as depth_image_proc asks for it.
    """
    of_images, of_depths = (
        bag.first(topic).header.frame_id.lstrip('/') for topic in (images, depths)
    )
    if of_images and of_depths and of_images != of_depths:
        raise BagError(
            f'{bag.path}: {images[0].topic} is seen from {of_images}, but {depths[0].topic} from '
            f'{of_depths}: record depth that is registered to the pictures, such as '
            '/camera/aligned_depth_to_color/image_raw or /camera/depth_registered/image_raw'
        )


def calibration(bag: Bag, topic: str) -> Any:
    """Give the first CameraInfo with a calibration, beside an image topic. Raises BagError."""
    for message in bag.messages(find_info(bag, topic, None)):
        with contextlib.suppress(MessageError):
            if is_calibrated(info := parsed(message)):
                if is_distorted(info):
                    tqdm.write(
                        f'{topic} has lens distortion, which its pictures and their depth are '
                        'taken to be without'
                    )
                return info
    raise BagError(f'{bag.path} has no calibration beside {topic}: give --focal-px')


def stamps(bag: Bag, topic: Topic) -> NDArray[np.float64]:
    """Give the stamps of a topic's messages in seconds, NaN where a message is damaged."""
    found = []
    for message in bag.messages(topic):
        try:
            stamp = parsed(message).header.stamp
            found.append(stamp.sec + 1e-9 * stamp.nanosec)
        except MessageError:
            found.append(np.nan)
    return np.array(found)


def pairs(images_s: NDArray[np.float64], depths_s: NDArray[np.float64]) -> dict[int, int]:
    """Give image number -> depth number for those that are each other's nearest in time."""
    if not len(images_s) or not len(depths_s):
        return {}
    there, back = nearest(images_s, depths_s), nearest(depths_s, images_s)
    apart_s = np.abs(images_s - depths_s[there])
    numbers = np.arange(len(images_s))
    mutual = (back[there] == numbers) & (apart_s <= TOGETHER_S)  # NaN is never near
    return {int(i): int(there[i]) for i in numbers[mutual]}


def nearest(times_s: NDArray[np.float64], among_s: NDArray[np.float64]) -> NDArray[np.intp]:
    """Give for each time the number of the nearest among others."""
    order = np.argsort(among_s)  # NaN last
    ordered = among_s[order]
    after = np.searchsorted(ordered, times_s).clip(0, len(ordered) - 1)
    before = (after - 1).clip(0)
    closer = np.abs(times_s - ordered[before]) <= np.abs(times_s - ordered[after])
    return order[np.where(closer, before, after)]


def choose_depth(bag: Bag, topic: str | None) -> Topic:
    """Give the depth topic, or the only one. Raises BagError that lists what there is."""
    depths = [c for c in bag.connections if is_depth(bag, c)]
    chosen = tuple(c for c in depths if topic in (None, c.topic))
    if len({c.topic for c in chosen}) == 1:
        return chosen
    if not depths:
        raise BagError(f'{bag.path} has no depth; its topics are:{listed(bag.connections)}')
    raise BagError(f'{bag.path}: choose the depth with --depth-topic:{listed(depths)}')


def is_depth(bag: Bag, connection: Connection) -> bool:
    """Tell whether a connection carries depth images, by its first one."""
    if connection.msgtype not in (IMAGE, COMPRESSED):
        return False
    try:
        metres(bag.first([connection]))
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
