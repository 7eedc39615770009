"""The node over real DDS: a picture in, depth, CameraInfo and cloud out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from rclpy.qos import ReliabilityPolicy
from ros_helpers import header, picture, rgb_message, running_node, wait_until


def depth_array(message) -> np.ndarray:
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


@pytest.mark.parametrize(
    'reliability', [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT], ids=str
)
def test_a_picture_is_answered_with_identical_headers(tiny_weights, reliability):
    with running_node(tiny_weights, reliability=reliability) as (node, peer):
        peer.image.publish(rgb_message(picture(161, 121), 7))
        wait_until(lambda: all(peer.received[name] for name in ('depth', 'info', 'points')))
        depth, info, cloud = (peer.received[name][0] for name in ('depth', 'info', 'points'))
    assert depth.header == info.header == cloud.header == header(7)
    print(info)
