"""Reads rosbag2 through `rosbags`; whatever is wrong with a bag ends in a BagError."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from depth_pro_ros.bags.options import STORAGES, BagError
from depth_pro_ros.decoding import CHANNELS, MessageError, rgb_from_compressed, rgb_from_image

TYPES = get_typestore(Stores.LATEST)
"""sensor_msgs are the same on the wire in every ROS 2."""
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'


Topic = tuple[Connection, ...]
"""The connections of one topic: each of its publishers may have one."""


class Message(NamedTuple):
    """A message as it is stored."""

    connection: Connection
    time_ns: int
    """When it was recorded."""
    data: bytes


def is_bag(path: Path) -> bool:
    """Tell whether a path looks like a bag: a folder with metadata.yaml, or a storage file."""
    return path.suffix in STORAGES.values() if path.is_file() else (path / 'metadata.yaml').exists()


class Bag:
    """An open bag."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._reader = reader
        self.connections = [c for c in reader.connections if c.msgcount]
        self.silent = [c for c in reader.connections if not c.msgcount]
        """Topics without messages."""
        self.start_ns = reader.start_time

    def messages(
        self,
        connections: Collection[Connection],
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[Message]:
        """Give the messages of connections in the order of their time; the stop is exclusive."""
        last_ns = self.start_ns
        try:
            if connections:  # rosbags takes none of them for all
                for connection, last_ns, data in self._reader.messages(
                    connections, start_ns, stop_ns
                ):
                    yield Message(connection, last_ns, data)
        except Exception as error:  # zstd, lz4, struct, SQLite and others have their own
            raise BagError(
                f'{self.path} is damaged {(last_ns - self.start_ns) * 1e-9:.2f} s after its start '
                f'({reason(error)}); `mcap recover FILE`, or `sqlite3 FILE .recover`, may save the '
                'rest'
            ) from error

    def first(self, connections: Sequence[Connection]) -> Any:
        """Give the first message of connections, of which there is one at least."""
        for message in self.messages(connections):
            return parsed(message)
        raise BagError(f'{self.path}: {connections[0].topic} has no messages, against its index')


@contextlib.contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag. Raises BagError where it is none, or has no messages."""
    if path.suffix == '.bag':
        raise BagError(f'{path} is a bag of ROS 1: rosbags-convert makes one of ROS 2 of it')
    with contextlib.ExitStack() as stack:
        try:
            bag = Bag(path, stack.enter_context(Reader(path)))
        except Exception as error:  # as in Bag.messages
            raise BagError(f'{path} cannot be opened as a bag: {reason(error)}') from error
        if not bag.connections:
            raise BagError(f'{path} has no messages')
        yield bag


def reason(error: Exception) -> str:
    """Give an error in one line."""
    text = str(getattr(error, 'strerror', None) or error)
    return text.splitlines()[0].rstrip('.') if text else type(error).__name__


def parsed(message: Message) -> Any:
    """Give the fields of a message. Raises MessageError for bytes that are none."""
    try:
        return TYPES.deserialize_cdr(message.data, message.connection.msgtype)
    except Exception as error:  # of the many ways in which bytes can be wrong
        raise MessageError(f'not a {message.connection.msgtype}: {reason(error)}') from error


def picture(msg: Any) -> NDArray[np.uint8]:
    """Give an Image or CompressedImage as (H, W, 3) RGB. Raises MessageError or ValueError."""
    return rgb_from_image(msg) if msg.__msgtype__ == IMAGE else rgb_from_compressed(msg)


def is_camera(bag: Bag, connection: Connection) -> bool:
    """Tell whether a connection carries pictures of a camera, and no depth, by its first one."""
    if connection.msgtype not in (IMAGE, COMPRESSED):
        return False
    try:
        msg = bag.first([connection])
    except MessageError:
        return False
    return msg.encoding in CHANNELS if connection.msgtype == IMAGE else 'Depth' not in msg.format


def is_latched(connection: Connection) -> bool:
    """Tell whether late subscribers of a topic get its old messages, as those of /tf_static."""
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return connection.topic.endswith('/tf_static') or any(
        qos.durability == QosDurability.TRANSIENT_LOCAL
        for qos in connection.ext.offered_qos_profiles
    )


def choose_images(bag: Bag, topic: str | None) -> Topic:
    """Give the image topic, or the only one. Raises BagError that lists what there is."""
    cameras = [c for c in bag.connections if is_camera(bag, c)]
    if not cameras:
        raise BagError(f'{bag.path} has no camera images; its topics are:{listed(bag.connections)}')
    topics = {c.topic for c in cameras}
    if topic is None and len(topics) > 1:
        raise BagError(
            f'{bag.path} has {len(topics)} image topics; choose with --topic:{listed(cameras)}'
        )
    chosen = tuple(c for c in cameras if topic in (None, c.topic))
    if not chosen:
        raise BagError(f'{bag.path} has no images on {topic}; there are:{listed(cameras)}')
    return chosen


def listed(connections: Collection[Connection]) -> str:
    """Give topics, one a line, each with its type and number of messages."""
    counts: Counter[tuple[str, str]] = Counter()
    for connection in connections:
        counts[connection.topic, connection.msgtype] += connection.msgcount
    rows = sorted((*topic, f'{count} messages') for topic, count in counts.items())
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return ''.join(
        '\n  ' + '  '.join(text.ljust(width) for text, width in zip(row, widths)).rstrip()
        for row in rows
    )
