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

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.focal import FocalLock, FocalSettings
from depth_pro_ros.ros.diagnostics import Health
from depth_pro_ros.ros.lens import Lens
from depth_pro_ros.ros.parameters import NodeParameters

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
    """Show frames until the focal length is locked, each of which counts however fast they come."""
    node.streams[''].lens.filter._settings = FocalSettings(interval_s=0.0)
    for index, rgb in enumerate(frames):
        message = rgb_message(rgb, 0)
        message.header.stamp.sec = index
        answers(peer, message, ['info'])
        if node.streams[''].lens.known.camera is not None:
            return
    raise AssertionError(str(node.streams[''].lens.filter))


def calibrate(node, peer) -> None:
    """Publish a CameraInfo, of a focal length of 52.5 pixels, until the node has it."""
    info = CameraInfo(header=header(), width=64, height=48)
    info.k = [52.5, 0.0, 32.0, 0.0, 52.5, 24.0, 0.0, 0.0, 1.0]
    peer.info.publish(info)
    wait_until(lambda: node.streams['']._info)


def relative_spread(values: np.ndarray) -> float:
    """Give the relative standard deviation over frames, the median over pixels."""
    return float(np.median(values.std(axis=0) / values.mean(axis=0)))


def use(node, **parameters) -> None:
    for name, value in parameters.items():
        object.__setattr__(node.parameters, name, value)


def compare(node, peer, frames, plain) -> dict[str, tuple[float, ...]]:
    """Give relative standard deviations without and with the lock, over frames of one picture.

    plain (N, H, W): the network's own depth of the frames at a fixed focal length. Depth is
    proportional to the focal length, so what is published divided by it is the part of the scale
    that the focal length makes; 'depth' is that of a pixel, with all that moves it, and then with
    what stands still averaged.
    """
    found = []
    for locked in (False, True):
        use(node, focal_lock=locked, still_frames=1)
        focals, depths = show(node, peer, frames)
        factors = np.array([np.median(each) for each in depths / plain])
        np.testing.assert_allclose(factors / factors[0], focals / focals[0], rtol=2e-5)
        found.append([relative_spread(each) for each in (factors, depths)])
    assert len(set(focals)) == 1  # to the last bit
    (focal, depth), (locked_focal, locked_depth) = found
    use(node, still_frames=NodeParameters.still_frames)
    show(node, peer, frames[: FRAMES // 2])
    still, own = relative_spread(show(node, peer, frames)[1]), relative_spread(plain)
    print(
        f'focal length {focals[0]:.1f} px; relative standard deviation without -> with the lock: '
        f'of the scale factor {focal:.3%} -> {locked_focal:.3%}, of the depth of a pixel '
        f'{depth:.3%} -> {locked_depth:.3%} -> {still:.3%} with what stands still averaged; by the '
        f'network at a fixed focal length {own:.3%}'
    )
    return {'focal': (focal, locked_focal), 'depth': (depth, locked_depth, still), 'own': (own,)}


@pytest.fixture
def patient(monkeypatch):
    """A frame that is lost on the way and sent again comes after more than a second."""
    monkeypatch.setattr('depth_pro_ros.still.PAUSE_S', 60.0)


def test_the_scale_of_a_noisy_picture_stands_still_once_locked(tiny_weights, patient):
    rgb = picture(64, 48)
    frames = [noisy(rgb, seed) for seed in range(FRAMES)]
    with running_node(
        tiny_weights, wanted=('depth', 'info'), min_depth=0.0, max_depth=10000.0, lock_check_s=0.0
    ) as (node, peer):
        learn(node, peer, frames)
        predict = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32').predict
        plain = np.array([predict(rgb, 100.0).depth_m for rgb in frames])
        spreads = compare(node, peer, frames, plain)
        unlocked, locked = spreads['focal']
        assert unlocked > 1e-4 and locked <= unlocked / 5
        unlocked, locked, still = spreads['depth']
        assert still <= min(unlocked, locked) / 5
        # what the lock leaves is the network's own
        assert locked == pytest.approx(spreads['own'][0], rel=0.02)
        use(node, still_frames=1)
        calibrate(node, peer)
        focals, depths = show(node, peer, frames[:5])
        assert set(focals) == {52.5}
        np.testing.assert_allclose(depths[4], predict(frames[4], 52.5).depth_m, rtol=1e-5)
        use(node, still_frames=NodeParameters.still_frames)
        _, depths = show(node, peer, frames[:10])
        plain = predict(frames[9], 52.5).depth_m
        assert np.abs(depths[9] / plain - 1).max() > 1e-3  # averaged
        node.streams[''].outdate()  # as a stop does, and time that goes back
        _, depths = show(node, peer, frames[9:10])
        np.testing.assert_allclose(depths[0], plain, rtol=1e-5)


def test_frames_that_check_a_calibration_are_averaged_like_all(tiny_weights, patient):
    frames = [noisy(picture(64, 48), seed) for seed in range(10)]
    predict = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32').predict
    with running_node(
        tiny_weights, wanted=('depth', 'info'), min_depth=0.0, max_depth=10000.0, lock_check_s=1e-6
    ) as (node, peer):
        calibrate(node, peer)
        node.streams[''].lens.filter._settings = FocalSettings(interval_s=0.0)
        _, depths = show(node, peer, frames)
        assert len(node.streams[''].lens.filter._logs) == len(frames)  # all were asked
    np.testing.assert_allclose(depths[0], predict(frames[0], 52.5).depth_m, rtol=1e-5)
    assert np.abs(depths[9] / predict(frames[9], 52.5).depth_m - 1).max() > 1e-3


def test_the_lock_of_one_camera_is_not_known_of_another():
    lens = Lens(Health('node'), print)
    lens.use_camera('front', 64, 48)
    lens.filter.lock = FocalLock(50.0, 0.01)
    lens.tell(Intrinsics.from_focal(50.0, 64, 48), 'lock')
    assert lens.known.camera.fx == 50.0
    lens.use_camera('rear', 64, 48)
    assert lens.known.camera is None


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
        print(node.streams[''].lens.filter)
        predict = node.engine.estimator.predict
        plain = np.array([predict(rgb, 500.0).depth_m for rgb in frames])
        spreads = compare(node, peer, frames, plain)
        for unlocked, *_, locked in (spreads['focal'], spreads['depth']):
            assert locked <= unlocked / 5
        assert math.isclose(node.streams[''].lens.known.camera.fx, 525.0, rel_tol=0.25)
        info = CameraInfo(header=header(), width=640, height=480)
        info.k = [525.0, 0.0, 319.5, 0.0, 525.0, 239.5, 0.0, 0.0, 1.0]
        peer.info.publish(info)
        wait_until(lambda: node.streams['']._info)
        assert set(show(node, peer, frames[:3])[0]) == {525.0}
