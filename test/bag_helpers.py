"""Bags for tests, written with rosbags, and read back with it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

WIDTH, HEIGHT = 64, 48
START_NS = 1_700_000_000_123_456_789
PERIOD_NS = 100_000_001
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, TF = 'sensor_msgs/msg/CameraInfo', 'tf2_msgs/msg/TFMessage'
OWN = 'robot_msgs/msg/Bumper'
"""A type that no message package here has."""

types = get_typestore(Stores.ROS2_JAZZY)
types.register(get_types_from_msg('std_msgs/Header header\nbool[4] pressed\n', OWN))
make = types.types


def qos(reliability=QosReliability.RELIABLE, durability=QosDurability.VOLATILE) -> Qos:
    never = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST,
        7,
        reliability,
        durability,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )


@functools.cache
def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Give a smooth picture (H, W, 3) uint8 RGB that differs for each index."""
    coarse = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def header(index: int, frame: str = 'camera_optical_frame') -> Any:
    """Give a header whose stamp is a little before the time of recording."""
    sec, nanosec = divmod(START_NS + index * PERIOD_NS - 5_000_003, 10**9)
    stamp = make['builtin_interfaces/msg/Time'](sec, nanosec)
    return make['std_msgs/msg/Header'](stamp, frame)


def raw_image(index: int, encoding: str = 'rgb8', **size: int) -> Any:
    rgb = picture(index, **size)
    if encoding == '32FC1':
        pixels = np.ones(rgb.shape[:2], np.float32)
    else:
        pixels = rgb if encoding == 'rgb8' else rgb[..., ::-1]
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).view(np.uint8).ravel()
    return make[IMAGE](header(index), height, width, encoding, 0, len(data) // height, data)


def compressed_image(index: int, suffix: str = 'png', data: bytes | None = None) -> Any:
    if data is None:
        data = cv2.imencode('.' + suffix, picture(index)[..., ::-1])[1].tobytes()
    form = f'rgb8; {suffix} compressed bgr8'
    return make[COMPRESSED](header(index), form, np.frombuffer(data, np.uint8))


def camera_info(index: int, focal: float = 60.0, d=(0.0,) * 5, width=WIDTH, height=HEIGHT) -> Any:
    k = np.array([focal, 0, 30.5, 0, focal + 1, 20.5, 0, 0, 1.0])
    p = np.insert(k, [3, 6, 9], 0.0)
    region = make['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return make[INFO](
        header(index),
        height,
        width,
        'plumb_bob',
        np.array(d),
        k,
        np.eye(3).ravel(),
        p,
        0,
        0,
        region,
    )


def transform(index: int, child: str) -> Any:
    vector, turn = make['geometry_msgs/msg/Vector3'], make['geometry_msgs/msg/Quaternion']
    pose = make['geometry_msgs/msg/Transform'](vector(index, 2.0, 3.0), turn(0.0, 0.0, 0.0, 1.0))
    return make[TF]([make['geometry_msgs/msg/TransformStamped'](header(index), child, pose)])


def write_bag(
    path: Path,
    topics: dict[str, tuple[str, list[tuple[int, Any]]]],
    profiles: dict[str, list[Qos]] | None = None,
    storage: str = 'mcap',
    version: int = 9,
) -> Path:
    """Write a bag of topic -> (type, [(nanoseconds since START_NS, message)])."""
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    with Writer(path, version=version, storage_plugin=plugin) as writer:
        rows = []
        for topic, (kind, messages) in topics.items():
            offered = (profiles or {}).get(topic, [])
            connection = writer.add_connection(
                topic, kind, typestore=types, offered_qos_profiles=offered
            )
            rows += [
                (time_ns, connection, bytes(types.serialize_cdr(message, kind)))
                for time_ns, message in messages
            ]
        for time_ns, connection, data in sorted(rows, key=lambda row: row[0]):
            writer.write(connection, START_NS + time_ns, data)
    return path


def camera_bag(
    path: Path,
    frames: int = 6,
    info: bool = True,
    compressed: bool = False,
    keep: tuple[int, int] | None = None,
    **options: Any,
) -> Path:
    """Write what a robot records: camera, calibration, tf, latched tf_static, a type of its own.

    keep: first and last frame (exclusive) of the part that is written.
    """
    times = [index * PERIOD_NS for index in range(frames)]
    if compressed:
        images = {'/camera/image_raw/compressed': (COMPRESSED, compressed_image)}
    else:
        images = {'/camera/image_raw': (IMAGE, raw_image)}
    makers = {
        **images,
        **({'/camera/camera_info': (INFO, camera_info)} if info else {}),
        '/tf': (TF, lambda index: transform(index, 'base_link')),
        '/bumper': (OWN, lambda index: make[OWN](header(index, 'base'), np.zeros(4, np.bool_))),
    }
    topics = {
        topic: (kind, [(time, maker(index)) for index, time in enumerate(times)])
        for topic, (kind, maker) in makers.items()
    }
    topics['/tf_static'] = (TF, [(0, transform(0, 'camera')), (1, transform(1, 'lidar'))])
    topics['/silent'] = (OWN, [])
    if keep:
        first, last = (index * PERIOD_NS for index in keep)
        topics = {
            topic: (kind, [row for row in rows if first <= row[0] < last])
            for topic, (kind, rows) in topics.items()
        }
    profiles = {
        next(iter(images)): [qos(QosReliability.BEST_EFFORT)],
        '/tf': [qos(), qos(QosReliability.BEST_EFFORT)],
        '/tf_static': [qos(durability=QosDurability.TRANSIENT_LOCAL)],
    }
    return write_bag(path, topics, profiles, **options)


def read_bag(path: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Give every message of a bag as it is stored: topic -> [(time, data)]."""
    messages: dict[str, list[tuple[int, bytes]]] = {}
    with Reader(path) as reader:
        for connection in reader.connections:
            messages[connection.topic] = []
        for connection, time_ns, data in reader.messages():
            messages[connection.topic].append((time_ns, bytes(data)))
    return messages


def read_topic(path: Path, topic: str) -> list[Any]:
    """Give the messages of one topic."""
    with Reader(path) as reader:
        chosen = [connection for connection in reader.connections if connection.topic == topic]
        return [
            types.deserialize_cdr(data, connection.msgtype)
            for connection, _, data in (reader.messages(chosen) if chosen else ())
        ]


def read_connections(path: Path) -> dict[str, Any]:
    """Give of each topic its type, definition, hash and QoS."""
    with Reader(path) as reader:
        return {
            c.topic: (c.msgtype, c.msgdef, c.digest, c.ext.offered_qos_profiles)
            for c in reader.connections
        }
