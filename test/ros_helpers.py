"""A real node under test and a real camera and consumer beside it, over DDS."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from depth_pro_ros.ros import topics
from depth_pro_ros.ros.messages import as_bytes
from depth_pro_ros.ros.node import DepthProNode

OUTPUTS = topics.OUTPUTS


class Peer(Node):
    """A camera and a consumer in one: publishes pictures, keeps what the node answers."""

    def __init__(
        self, context, wanted, reliability=ReliabilityPolicy.RELIABLE, camera='', **options
    ) -> None:
        super().__init__(f'peer_{camera}'.strip('_'), context=context, **options)
        self.received: dict[str, list[Any]] = {name: [] for name in (*OUTPUTS, 'diagnostics')}
        qos = QoSProfile(depth=50, reliability=reliability)
        prefix = f'{camera}/' if camera else ''
        for name in wanted:
            kind, topic = OUTPUTS[name]
            keep = self.received[name].append
            self.create_subscription(kind, f'/depth_pro/{prefix}{topic}', keep, qos)
        self.create_subscription(
            DiagnosticArray, '/diagnostics', self.received['diagnostics'].append, 10
        )
        self.image = self.create_publisher(Image, f'{prefix}image', 10)
        self.compressed = self.create_publisher(CompressedImage, f'{prefix}image/compressed', 10)
        self._info_topic = f'{prefix}camera_info'

    @functools.cached_property
    def info(self) -> Publisher:
        """Advertise CameraInfo: a camera without one does not make the node wait for it."""
        made = self.create_publisher(CameraInfo, self._info_topic, qos_profile_sensor_data)
        wait_until(made.get_subscription_count)
        return made

    def call(self, kind: type, name: str, seconds: float = 20.0, **values: Any) -> Any:
        """Call a service of the node, by its name below the node's, and give its response."""
        client = self.create_client(kind, f'/depth_pro/{name}')
        assert client.wait_for_service(10.0), name
        future = client.call_async(kind.Request(**values))
        try:
            return wait_until(future.result, seconds)
        finally:
            self.destroy_client(client)

    def diagnostics(self) -> dict[str, tuple[int, str, dict[str, str]]]:
        """Give level, message and values of each status of the newest diagnostics."""
        if not self.received['diagnostics']:
            return {}
        return {
            status.name: (
                int.from_bytes(status.level, 'little'),
                status.message,
                {value.key: value.value for value in status.values},
            )
            for status in self.received['diagnostics'][-1].status
        }


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for a condition and give its value; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f'not within {seconds} s')


@contextlib.contextmanager
def spinning(*nodes: Node) -> Iterator[None]:
    """Run nodes, each on a thread of its own; an exception in a callback fails the test."""
    stop = threading.Event()
    errors: list[Exception] = []

    def spin(executor: SingleThreadedExecutor) -> None:
        try:
            while not stop.is_set():
                executor.spin_once(timeout_sec=0.2)
        except Exception as error:
            errors.append(error)

    executors = [SingleThreadedExecutor(context=node.context) for node in nodes]
    threads = [threading.Thread(target=spin, args=(each,), daemon=True) for each in executors]
    for executor, node, thread in zip(executors, nodes, threads, strict=True):
        executor.add_node(node)
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for executor, thread in zip(executors, threads, strict=True):
            executor.wake()
            thread.join(5.0)
            executor.shutdown()
    if errors:
        raise errors[0]


def make_node(context, weights: str, cli_args=None, **parameters: Any) -> DepthProNode:
    """Make the node under test, on the CPU unless told otherwise."""
    values = {'weights': weights, 'device': 'cpu', 'precision': 'fp32'} | parameters
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return DepthProNode(context=context, cli_args=cli_args, parameter_overrides=overrides)


@contextlib.contextmanager
def contexts(count: int) -> Iterator[list[rclpy.Context]]:
    """Give contexts, which are to DDS what processes are."""
    made = [rclpy.Context() for _ in range(count)]
    for context in made:
        rclpy.init(context=context)
    try:
        yield made
    finally:
        for context in made:
            context.try_shutdown()


@contextlib.contextmanager
def running_node(
    weights: str,
    wanted=('depth', 'info', 'points'),
    reliability=ReliabilityPolicy.RELIABLE,
    **parameters: Any,
) -> Iterator[tuple[DepthProNode, Peer]]:
    """Run the node and a peer in contexts of their own until both know each other."""
    with contexts(2) as (own, other):
        node = make_node(own, weights, **parameters)
        peer = Peer(other, wanted, reliability)
        try:
            with spinning(node, peer):
                wait_until(lambda: node.health.state == 'running' or node.failure, 60)
                if node.failure is None:
                    wait_until(lambda: met(node, peer, wanted))
                yield node, peer
        finally:
            node.close()
            peer.destroy_node()


def met(node: DepthProNode, peer: Peer, wanted=('depth',), camera: str = '') -> bool:
    """Tell whether a node and the peer of one of its cameras know each other."""
    raw = node.parameters.image_transport == 'raw'
    publisher = peer.image if raw else peer.compressed
    outputs = node.streams[camera].topics.outputs
    return publisher.get_subscription_count() > 0 and all(
        outputs[name].get_subscription_count() for name in wanted
    )


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Give a smooth random picture (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    import cv2

    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def figures(pid: int) -> tuple[int, int, int]:
    """Give resident bytes, open files and threads of a process."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return (
        pages * os.sysconf('SC_PAGE_SIZE'),
        len(os.listdir(f'/proc/{pid}/fd')),
        len(os.listdir(f'/proc/{pid}/task')),
    )


def header(index: int = 0) -> Header:
    """Give a header that is recognised again: odd nanoseconds and a frame of its own."""
    message = Header(frame_id=f'camera_{index}_optical_frame')
    message.stamp.sec, message.stamp.nanosec = 1_700_000_000 + index, 123_456_789
    return message


def rgb_message(rgb: np.ndarray, index: int = 0) -> Image:
    """Give an rgb8 Image without row padding."""
    height, width = rgb.shape[:2]
    return Image(
        header=header(index),
        width=width,
        height=height,
        encoding='rgb8',
        step=3 * width,
        data=as_bytes(rgb),
    )
