"""Writes rosbag2 through `rosbags`, aside: a bag has its final name once it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from depth_pro_ros.bags.options import STORAGES, BagError
from depth_pro_ros.bags.reading import TYPES, Message, reason

VERSION: Literal[8] = 8
"""Of the format: the newest that Humble plays, too; 9 writes QoS in a way that it cannot read."""
UNSPECIFIED = QosTime(0, 0)
RELIABLE = Qos(
    QosHistory.KEEP_LAST,
    2,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    UNSPECIFIED,
    UNSPECIFIED,
    QosLiveliness.AUTOMATIC,
    UNSPECIFIED,
    avoid_ros_namespace_conventions=False,
)
"""What the node publishes with."""
UNKNOWN_HASH = 'RIHS01_' + 64 * '0'


@contextlib.contextmanager
def aside(output: Path) -> Iterator[Path]:
    """Give an empty folder beside `output`; what has its name in there is moved to it at the end.

    What an earlier run left there is removed. Raises BagError where the output exists, cannot be
    written, or is being written by another process.
    """
    check_is_free(output)
    folder = unfinished(output)
    with explained(output):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, output):
        try:
            with explained(output):
                for path in folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield folder
            with explained(output):
                os.replace(folder / output.name, output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def check_is_free(output: Path) -> None:
    """Raise BagError where there is something already."""
    if output.exists():
        raise BagError(f'{output} exists already: remove it, or choose another name')


def unfinished(output: Path) -> Path:
    """Give the folder where a bag is until it is whole."""
    return output.with_name(f'.{output.name}.part')


def remove_unfinished(output: Path) -> None:
    """Remove what a process that is no more left of a bag; what another one writes stays."""
    folder = unfinished(output)
    if folder.exists():
        with contextlib.suppress(BagError), locked(folder, output):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path, output: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder; the lock ends with this process."""
    with explained(output):
        lock = os.open(folder, os.O_RDONLY)
    try:
        with explained(output):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def explained(output: Path) -> Iterator[None]:
    """Turn the errors of writing into a BagError."""
    try:
        yield
    except BlockingIOError as error:
        raise BagError(f'{output} is being written by another process') from error
    except (OSError, sqlite3.Error, WriterError) as error:
        raise BagError(f'cannot write {output}: {reason(error)}') from error


class NewBag:
    """A bag that is being written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._copies: dict[int, Connection] = {}
        self._new: dict[str, Connection] = {}

    def add(self, topic: str, kind: str) -> None:
        """Add a new topic of a type."""
        self._new[kind] = self._writer.add_connection(
            topic, kind, typestore=TYPES, offered_qos_profiles=[RELIABLE]
        )

    def add_copy(self, connection: Connection) -> None:
        """Add a topic of another bag with its type and QoS."""
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        text, digest = definition(connection)
        try:
            self._copies[connection.id] = self._writer.add_connection(
                connection.topic,
                connection.msgtype,
                msgdef=text,
                rihs01=digest,
                serialization_format=connection.ext.serialization_format,
                offered_qos_profiles=connection.ext.offered_qos_profiles,
            )
        except WriterError:  # several publishers of one topic may have a connection each
            self._copies[connection.id] = next(
                known
                for known in self._writer.connections
                if (known.topic, known.msgtype, known.ext)
                == (connection.topic, connection.msgtype, connection.ext)
            )

    def copy(self, message: Message, time_ns: int) -> None:
        """Write a message of the other bag as it is."""
        self._writer.write(self._copies[message.connection.id], time_ns, message.data)

    def write(self, kind: str, time_ns: int, data: bytes) -> None:
        """Write a message of a new topic, which the type tells."""
        self._writer.write(self._new[kind], time_ns, data)


@contextlib.contextmanager
def new_bag(folder: Path, output: Path, storage: str) -> Iterator[NewBag]:
    """Write a bag for `output` into `folder`. Raises BagError where that fails."""
    single = output.suffix in STORAGES.values()
    path = folder / (f'{output.stem}.folder/{output.stem}' if single else output.name)
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    with explained(output):
        with Writer(path, version=VERSION, storage_plugin=plugin) as writer:
            yield NewBag(writer)
        if single:
            os.replace(path / output.name, folder / output.name)


def definition(connection: Connection) -> tuple[str, str]:
    """Give the message definition of a topic and its hash (REP 2011), as far as a bag tells."""
    text, kind = connection.msgdef.data, connection.msgtype
    if connection.msgdef.format == MessageDefinitionFormat.NONE:  # bags of Humble and older
        if kind not in TYPES.fielddefs:
            return '', connection.digest or UNKNOWN_HASH
        text, _ = TYPES.generate_msgdef(kind, ros_version=2)
    if connection.digest:
        return text, connection.digest
    try:
        types = get_typestore(Stores.EMPTY)
        types.register(get_types_from_msg(text, kind))
        return text, types.hash_rihs01(kind)
    except Exception:  # of a definition that rosbags cannot read; the messages are copied unread
        return text, UNKNOWN_HASH
