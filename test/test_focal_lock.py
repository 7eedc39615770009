"""What the focal lock does to published depth: the scale of a picture with noise stands still."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import header, picture, rgb_message, running_node, wait_until
from sensor_msgs.msg import CameraInfo
from test_node import answers, depth_array

from depth_pro_ros.estimator import DepthEstimator

FRAMES = 60
RECORDING = Path(os.environ.get('DEPTH_PRO_RECORDING', ''))


def noisy(rgb: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, 6.0, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def show(node, peer, frames) -> tuple[np.ndarray, np.ndarray]:
    """Show frames one by one; gives focal lengths (N,) and depth maps (N, H, W)."""
    focals, depths = [], []
    for index, rgb in enumerate(frames):
        message = rgb_message(rgb, 0)
        message.header.stamp.sec += index
        depth, info = answers(peer, message, ['depth', 'info'])
        focals.append(info.k[0])
        depths.append(depth_array(depth))
        for each in peer.received.values():
            each.clear()
    return np.array(focals), np.array(depths)


def learn(node, peer, frames) -> None:
    """Show frames until the focal length is locked."""
    for index, rgb in enumerate(frames):
        message = rgb_message(rgb, 0)
        message.header.stamp.sec = index
        answers(peer, message, ['info'])
        if node.streams[''].learned is not None:
            return
    raise AssertionError(str(node.streams[''].lens))


def scales(depths, own) -> np.ndarray:
    """Give how much larger depth is than the network's own of a known focal length."""
    return np.array([np.median(depth / plain) for depth, plain in zip(depths, own, strict=True)])


def relative_spread(values: np.ndarray) -> float:
    return float(values.std() / values.mean())


def compare(node, peer, frames) -> tuple[float, float]:
    """Give the spread of the scale without and with the lock, and check the focal lengths."""
    object.__setattr__(node.parameters, 'focal_lock', False)
    moving, depths = show(node, peer, frames)
    own = [node.engine.estimator.predict(rgb, 100.0).depth_m for rgb in frames]
    unlocked = relative_spread(scales(depths, own))
    assert relative_spread(moving) > 0
    object.__setattr__(node.parameters, 'focal_lock', True)
    fixed, locked_depths = show(node, peer, frames)
    assert len(set(fixed)) == 1  # to the last bit
    locked = relative_spread(scales(locked_depths, own))
    pixel = (slice(None), depths.shape[1] // 2, depths.shape[2] // 2)
    print(
        f'focal length {fixed[0]:.1f} px; spread of focal length {relative_spread(moving):.2%} -> '
        f'0, of scale {unlocked:.2%} -> {locked:.5%}, of the depth of the middle pixel '
        f'{relative_spread(depths[pixel]):.2%} -> {relative_spread(locked_depths[pixel]):.2%}'
    )
    return unlocked, locked


def test_the_scale_of_a_noisy_picture_stands_still_once_locked(tiny_weights):
    rgb = picture(64, 48)
    frames = [noisy(rgb, seed) for seed in range(FRAMES)]
    with running_node(
        tiny_weights, wanted=('depth', 'info'), min_depth=0.0, max_depth=10000.0, lock_check_s=0.0
    ) as (node, peer):
        learn(node, peer, frames)
        unlocked, locked = compare(node, peer, frames)
        assert locked <= unlocked / 5
        info = CameraInfo(header=header(), width=64, height=48)
        info.k = [52.5, 0.0, 32.0, 0.0, 52.5, 24.0, 0.0, 0.0, 1.0]
        peer.info.publish(info)
        wait_until(lambda: node.streams['']._info)
        focals, depths = show(node, peer, frames[:5])
        assert set(focals) == {52.5}
        np.testing.assert_allclose(
            depths[4],
            DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32')
            .predict(frames[4], 52.5)
            .depth_m,
            rtol=1e-5,
        )


@pytest.mark.skipif(
    not RECORDING.is_dir() or not os.environ.get('DEPTH_PRO_RECORDING'),
    reason='opt-in: DEPTH_PRO_RECORDING=folder of a rosbag2 with image_raw/compressed',
)
def test_a_recording_locks_and_stands_still():
    import cv2

    highlevel = pytest.importorskip('rosbags.highlevel')
    typesys = pytest.importorskip('rosbags.typesys')
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    with highlevel.AnyReader([RECORDING], default_typestore=store) as bag:
        pictures = [
            cv2.imdecode(np.asarray(bag.deserialize(raw, each.msgtype).data), 1)[..., ::-1].copy()
            for each, _, raw in bag.messages()
            if each.topic.endswith('image_raw/compressed')
        ]
    frames = [noisy(pictures[0], seed) for seed in range(FRAMES)]
    with running_node(
        'small', wanted=('depth', 'info'), min_depth=0.0, max_depth=10000.0, lock_check_s=0.0
    ) as (node, peer):
        learn(node, peer, pictures)
        print(node.streams[''].lens)
        unlocked, locked = compare(node, peer, frames)
        assert locked <= unlocked / 5
        assert math.isclose(node.streams[''].learned.fx, 525.0, rel_tol=0.25)
        info = CameraInfo(header=header(), width=640, height=480)
        info.k = [525.0, 0.0, 319.5, 0.0, 525.0, 239.5, 0.0, 0.0, 1.0]
        peer.info.publish(info)
        wait_until(lambda: node.streams['']._info)
        assert set(show(node, peer, frames[:3])[0]) == {525.0}
