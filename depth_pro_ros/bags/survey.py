"""Reads a bag once before anything is computed: what is in it, and that all of it can be read."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from rosbags.interfaces import Connection

from depth_pro_ros.bags.options import BagError, BagOptions
from depth_pro_ros.bags.reading import INFO, Bag, Message, Topic, choose_images, listed, parsed
from depth_pro_ros.camera_info import is_calibrated
from depth_pro_ros.decoding import MessageError


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is to be done with a bag."""

    images: Topic
    copied: tuple[Connection, ...]
    """Topics that go into the new bag as they are."""
    copied_bytes: int
    start_ns: int
    stop_ns: int | None
    """Exclusive; None: to the end."""
    times_ns: tuple[int, ...]
    """When the images that get depth were recorded."""
    infos: tuple[Any, ...]
    """The calibrations of the camera, each where it differs from the one before."""


def survey(bag: Bag, options: BagOptions) -> Survey:
    """Read a bag from one end of the chosen stretch to the other. Raises BagError."""
    images = choose_images(bag, options.topic)
    info = () if options.focal_px else find_info(bag, images[0].topic, options.camera_info)
    copied = [] if options.only_new else [*bag.connections, *bag.silent]
    start_ns = bag.start_ns + round(options.start_s * 1e9)
    stop_ns = None
    if math.isfinite(options.duration_s):
        stop_ns = start_ns + round(options.duration_s * 1e9)
    times_ns: list[int] = []
    infos: list[Any] = []
    size = 0
    needed = copied or [*images, *info]
    for message in bag.messages(needed, start_ns, stop_ns):
        size += len(message.data)
        if message.connection in images:
            times_ns.append(message.time_ns)
        elif message.connection in info:
            add_calibration(infos, message)
    if info and not infos:  # published once, before the chosen stretch
        for message in bag.messages(info, None, start_ns):
            add_calibration(infos, message)
    if not times_ns:
        raise BagError(
            f'{bag.path} has no images on {images[0].topic} in the chosen stretch of time'
        )
    chosen = tuple(times_ns[:: options.every])
    copied_bytes = size if copied else 0
    return Survey(images, tuple(copied), copied_bytes, start_ns, stop_ns, chosen, tuple(infos))


def find_info(bag: Bag, images: str, topic: str | None) -> Topic:
    """Give the CameraInfo topic: the given one, or camera_info beside the image topic, or none."""
    infos = [c for c in bag.connections if c.msgtype == INFO]
    wanted = topic or images.removesuffix('/compressed').rpartition('/')[0] + '/camera_info'
    found = tuple(c for c in infos if c.topic == wanted)
    if topic and not found:
        there = f'there are:{listed(infos)}' if infos else 'there is none'
        raise BagError(f'{bag.path} has no CameraInfo on {topic}; {there}')
    return found


def add_calibration(infos: list[Any], message: Message) -> None:
    """Append a CameraInfo that carries another calibration than the last one."""
    try:
        info = parsed(message)
    except MessageError:
        return  # one damaged CameraInfo among many is no reason to lose the depth
    if is_calibrated(info) and not (infos and same_calibration(infos[-1], info)):
        infos.append(info)


def same_calibration(one: Any, other: Any) -> bool:
    """Tell whether two CameraInfo differ in nothing but their header."""
    return (one.width, one.height, one.distortion_model, one.roi) == (
        other.width,
        other.height,
        other.distortion_model,
        other.roi,
    ) and all(np.array_equal(getattr(one, key), getattr(other, key)) for key in 'dkrp')
