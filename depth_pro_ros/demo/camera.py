"""A camera that shows photographs, and a consumer that keeps what the node makes of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from depth_pro_ros.images import read_picture
from depth_pro_ros.ros.messages import image_message

FRAME_ID = 'camera_optical_frame'
RATE_HZ = 4.0
ANSWERS = 5  # asked for of each photograph

Stamp = tuple[int, int]


@dataclasses.dataclass
class Answer:
    """What arrived for one frame; complete once all three are there."""

    sent_s: float
    depth: Image | None = None
    info: CameraInfo | None = None
    points: PointCloud2 | None = None
    latency_s: float = 0.0

    def is_complete(self) -> bool:
        """Tell whether all three outputs arrived."""
        return None not in (self.depth, self.info, self.points)


@dataclasses.dataclass
class Showing:
    """One photograph in front of the camera: its frames and the answers to them."""

    name: str
    rgb: NDArray[np.uint8]
    frames: dict[Stamp, Answer] = dataclasses.field(default_factory=dict)

    def answers(self) -> list[Answer]:
        """Give the complete answers, oldest first."""
        return [answer for answer in self.frames.values() if answer.is_complete()]


class DemoCamera(Node):
    """Publishes `image` and subscribes to the outputs of depth_pro."""

    def __init__(self) -> None:
        super().__init__('demo_camera')
        self._showing: Showing | None = None
        self._publisher = self.create_publisher(Image, 'image', qos_profile_sensor_data)
        for kind, topic, field in (
            (Image, 'depth_pro/depth/image', 'depth'),
            (CameraInfo, 'depth_pro/depth/camera_info', 'info'),
            (PointCloud2, 'depth_pro/points', 'points'),
        ):
            self.create_subscription(kind, topic, self._receiver(field), 10)
        self.create_timer(1.0 / RATE_HZ, self._publish)

    def show(self, photo: Path) -> Showing:
        """Put a photograph in front of the camera."""
        self._showing = Showing(photo.stem, read_picture(photo))
        return self._showing

    def _publish(self) -> None:
        if self._showing is None:
            return
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=FRAME_ID)
        self._showing.frames[_stamp(header)] = Answer(sent_s=time.monotonic())
        self._publisher.publish(image_message(header, self._showing.rgb, 'rgb8'))

    def _receiver(self, field: str) -> Callable[[Image | CameraInfo | PointCloud2], None]:
        def receive(message: Image | CameraInfo | PointCloud2) -> None:
            frames = self._showing.frames if self._showing else {}
            answer = frames.get(_stamp(message.header))
            if answer is None or message.header.frame_id != FRAME_ID:
                return  # late, for the photograph before
            setattr(answer, field, message)
            answer.latency_s = time.monotonic() - answer.sent_s

        return receive


def _stamp(header: Header) -> Stamp:
    return header.stamp.sec, header.stamp.nanosec
