"""The topics of one camera: what the node subscribes to and publishes, and with which QoS."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2, Range

from depth_pro_ros.ros.distributions import subscribe
from depth_pro_ros.ros.parameters import ParameterError

BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
VOLATILE, TRANSIENT_LOCAL = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL

OUTPUTS = {
    'depth': (Image, 'depth/image'),
    'info': (CameraInfo, 'depth/camera_info'),
    'points': (PointCloud2, 'points'),
    'picture': (Image, 'image_rect'),
    'color': (Image, 'depth/image_color'),
    'compressed_depth': (CompressedImage, 'depth/image/compressedDepth'),
    'compressed_color': (CompressedImage, 'depth/image_color/compressed'),
}
"""Output -> its type and its topic below the node and the camera."""

ANCHORS = {'range': Range, 'scan': LaserScan}
"""What measures the scale of depth: a value of `scale_anchor`, and its topic -> type of that."""


class CameraTopics:
    """The publishers of a camera, and its subscriptions while there are any."""

    def __init__(self, node: Node, camera: str) -> None:
        """camera: its name, or '' for the only one, whose topics have no name in them.

        Raises ParameterError where a topic cannot be published, as with nonsense in qos_overrides.
        """
        self._node = node
        self._prefix = f'{camera}/' if camera else ''
        self.image = ''
        """The resolved topic that images come on, once subscribed."""
        self.outputs: dict[str, Publisher] = {
            name: self._publisher(kind, f'~/{self._prefix}{topic}')
            for name, (kind, topic) in OUTPUTS.items()
        }
        self.inputs: list[Subscription] = []

    def subscribe(
        self,
        compressed: bool,
        on_image: Callable[[Image | CompressedImage], None],
        on_lost: Callable[[int], None],
        on_info: Callable[[CameraInfo], None],
        anchor: str,
        on_measured: Callable[[Any], None],
    ) -> None:
        """Begin to receive, in place of whatever was received before.

        on_lost: takes how many more images the middleware lost on the way.
        anchor: the parameter `scale_anchor`; what is none of ANCHORS has no topic.
        """
        self.unsubscribe()
        self._subscribe(CameraInfo, 'camera_info', on_info)  # before the images: it is served first
        if anchor in ANCHORS:
            self._subscribe(ANCHORS[anchor], anchor, on_measured)
        if compressed:
            self._subscribe(CompressedImage, 'image/compressed', on_image, on_lost)
        else:
            self._subscribe(Image, 'image', on_image, on_lost)
        self.image = self.inputs[-1].topic_name

    def unsubscribe(self) -> None:
        """Receive nothing any more."""
        for subscription in self.inputs:
            self._node.destroy_subscription(subscription)
        self.inputs = []

    def has_info(self) -> bool:
        """Tell whether somebody publishes CameraInfo."""
        return bool(self.inputs and self._node.count_publishers(self.info))

    @property
    def info(self) -> str:
        """The resolved topic that CameraInfo comes on, while there are subscriptions."""
        return str(self.inputs[0].topic_name)

    def wanted(self) -> set[str]:
        """Give the outputs that somebody subscribes to."""
        return {name for name, output in self.outputs.items() if output.get_subscription_count()}

    def qos_faults(self) -> Iterator[tuple[str, str]]:
        """Give topic and reason for each pair of peers between which no data pass."""
        for output in self.outputs.values():
            for peer in self._node.get_subscriptions_info_by_topic(output.topic_name):
                if reason := qos_fault(output.qos_profile, peer.qos_profile):
                    yield output.topic_name, reason
        for source in self.inputs:
            for peer in self._node.get_publishers_info_by_topic(source.topic_name):
                if reason := qos_fault(peer.qos_profile, source.qos_profile):
                    yield source.topic_name, reason

    def _publisher(self, kind: type, topic: str) -> Publisher:
        try:
            return self._node.create_publisher(
                kind,
                topic,
                QoSProfile(depth=2, reliability=RELIABLE),
                qos_overriding_options=overridable(),
            )
        except (RuntimeError, ParameterException) as error:
            raise ParameterError(
                f'cannot publish {self._node.resolve_topic_name(topic)} with its qos_overrides: '
                f'{error}'
            ) from error

    def _subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        on_lost: Callable[[int], None] | None = None,
    ) -> None:
        self.inputs.append(
            subscribe(
                self._node,
                on_lost,
                kind,
                self._prefix + topic,
                callback,
                copy.copy(qos_profile_sensor_data),  # overrides are written into it
                qos_overriding_options=overridable(),
            )
        )


def overridable() -> QoSOverridingOptions:
    """Let parameters change all of a topic's QoS that can keep data from passing."""
    kinds = QoSPolicyKind
    return QoSOverridingOptions([kinds.HISTORY, kinds.DEPTH, kinds.RELIABILITY, kinds.DURABILITY])


def qos_fault(offered: QoSProfile, requested: QoSProfile) -> str | None:
    """Give the reason why no data pass from a publisher to a subscriber, or None."""
    if (offered.reliability, requested.reliability) == (BEST_EFFORT, RELIABLE):
        return 'a best-effort publisher and a reliable subscriber'
    if (offered.durability, requested.durability) == (VOLATILE, TRANSIENT_LOCAL):
        return 'a volatile publisher and a transient-local subscriber'
    return None
