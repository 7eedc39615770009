"""A real node under test and a real camera and consumer beside it, over DDS."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from depth_pro_ros.ros.messages import as_bytes
from depth_pro_ros.ros.node import DepthProNode

OUTPUTS = {
    'depth': (Image, '/depth_pro/depth/image'),
    'info': (CameraInfo, '/depth_pro/depth/camera_info'),
    'points': (PointCloud2, '/depth_pro/points'),
    'color': (Image, '/depth_pro/depth/image_color'),
}


class Peer(Node):
    """A camera and a consumer in one: publishes pictures, keeps what the node answers."""

    def __init__(self, context, wanted, reliability) -> None:
        super().__init__('peer', context=context)
        self.received: dict[str, list[Any]] = {name: [] for name in (*OUTPUTS, 'diagnostics')}
        qos = QoSProfile(depth=50, reliability=reliability)
        for name in wanted:
            kind, topic = OUTPUTS[name]
            self.create_subscription(kind, topic, self.received[name].append, qos)
        self.create_subscription(
            DiagnosticArray, '/diagnostics', self.received['diagnostics'].append, 10
        )
        self.image = self.create_publisher(Image, 'image', 10)
        self.compressed = self.create_publisher(CompressedImage, 'image/compressed', 10)
        self.info = self.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data)

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
def running_node(
    weights: str,
    wanted=('depth', 'info', 'points'),
    reliability=ReliabilityPolicy.RELIABLE,
    **parameters: Any,
) -> Iterator[tuple[DepthProNode, Peer]]:
    """Run the node and a peer in contexts of their own until both know each other."""
    contexts = [rclpy.Context(), rclpy.Context()]
    for context in contexts:
        rclpy.init(context=context)
    values = {'weights': weights, 'device': 'cpu', 'precision': 'fp32'} | parameters
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = DepthProNode(context=contexts[0], parameter_overrides=overrides)
    peer = Peer(contexts[1], wanted, reliability)
    node_executor = SingleThreadedExecutor(context=contexts[0])
    peer_executor = SingleThreadedExecutor(context=contexts[1])
    threads = []
    for executor, member in ((node_executor, node), (peer_executor, peer)):
        executor.add_node(member)
        threads.append(threading.Thread(target=executor.spin, daemon=True))
        threads[-1].start()
    try:
        publisher = peer.image if node.parameters.image_transport == 'raw' else peer.compressed
        wait_until(lambda: node.health.state == 'running' or node.failure)
        if node.failure is None:
            wait_until(lambda: publisher.get_subscription_count())
            wait_until(lambda: peer.info.get_subscription_count())
            for name in wanted:
                wait_until(lambda name=name: node._outputs[name].get_subscription_count())
        yield node, peer
    finally:
        for executor, thread in zip((node_executor, peer_executor), threads, strict=True):
            executor.shutdown()
            thread.join(5.0)
        node.close()
        peer.destroy_node()
        for context in contexts:
            context.try_shutdown()


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Give a smooth random picture (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    import cv2

    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


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
