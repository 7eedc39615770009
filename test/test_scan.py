"""The laser scanner as a witness of scale: geometry whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.scale import ScaleError
from depth_pro_ros.scan import LEAST_BEAMS, depth_at_points, rotation, scan_points

CAMERA = Intrinsics(160, 120, 120.0, 120.0, 79.5, 59.5)
PARALLEL = (math.pi / 2, -math.pi / 2, 0.0)
"""Roll, pitch, yaw of a scanner that looks ahead, in the optical frame."""
ANGLES = np.radians(np.arange(-90, 90.5, 0.5))


def wall_scan(pose, distance_m=3.0, slope=0.5) -> list[float]:
    """Give the ranges of a scanner before the wall z = distance_m + slope x."""
    normal = np.array([-slope, 0.0, 1.0])
    beams = np.column_stack([np.cos(ANGLES), np.sin(ANGLES), 0 * ANGLES]) @ rotation(*pose[3:]).T
    with np.errstate(divide='ignore'):
        ranges = (distance_m - normal @ pose[:3]) / (beams @ normal)
    return np.where(ranges > 0, ranges, np.inf).tolist()


def wall_depth(distance_m=3.0, slope=0.5) -> np.ndarray:
    """Give the depth of that wall (120, 160)."""
    x = (np.arange(160) - CAMERA.cx) / CAMERA.fx
    return np.tile(distance_m / (1.0 - slope * x), (120, 1)).astype(np.float32)


def points(pose, ranges=None):
    steps = ANGLES[0], ANGLES[1] - ANGLES[0]
    return scan_points(ranges or wall_scan(pose), steps, (0.05, 30.0), pose)


def test_the_pose_is_that_of_the_scanner_in_the_optical_frame():
    ahead, left, up = rotation(*PARALLEL).T
    np.testing.assert_allclose(ahead, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(left, [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(up, [0, -1, 0], atol=1e-12)
    turned = rotation(0.3, -0.2, 0.9)  # read back as tf2 does
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    assert turned[2, 0] == pytest.approx(math.sin(0.2))
    assert math.atan2(turned[2, 1], turned[2, 2]) == pytest.approx(0.3)
    assert math.atan2(turned[1, 0], turned[0, 0]) == pytest.approx(0.9)


@pytest.mark.parametrize(
    'pose',
    [
        (0.0, 0.1, 0.0, *PARALLEL),
        (0.3, -0.2, -0.4, *PARALLEL),
        (0.1, 0.2, 0.05, math.pi / 2 + 0.1, -math.pi / 2 + 0.3, 0.2),
    ],
    ids=['below', 'aside', 'turned'],
)
@pytest.mark.parametrize('factor', [1.0, 0.7])
def test_a_scan_tells_the_scale_of_a_slanted_wall(pose, factor):
    true, estimated = depth_at_points(points(pose), wall_depth() * np.float32(factor), CAMERA)
    assert true / estimated == pytest.approx(1 / factor, rel=0.005)


def test_what_the_camera_does_not_see_is_forgiven_by_the_median_or_too_little():
    pose = (0.0, 0.1, 0.0, *PARALLEL)
    depth = 0.8 * wall_depth()
    for wrong_m in (90.0, 0.9):  # a hole, and something that hides what a third of the beams hit
        depth[:, :58] = wrong_m
        true, estimated = depth_at_points(points(pose), depth, CAMERA)
        assert true / estimated == pytest.approx(1.25, rel=0.005)
    depth[:, 70:] = np.inf
    true, estimated = depth_at_points(points(pose), depth, CAMERA)
    assert true / estimated > 2.0  # nearly all are hidden now
    depth[:, 5:] = np.nan
    with pytest.raises(ScaleError, match=f'beams .* {LEAST_BEAMS} are needed: check scan_pose'):
        depth_at_points(points(pose), depth, CAMERA)
    with pytest.raises(ScaleError, match='^0 beams'):  # it looks to the rear
        backwards = (0.0, 0.1, 0.0, -math.pi / 2, math.pi / 2, 0.0)
        depth_at_points(points(backwards, wall_scan(pose)), wall_depth(), CAMERA)


@pytest.mark.parametrize(
    'ranges', [[], [math.nan] * 361, [math.inf] * 361, [1e30] * 361, [0.01] * 361]
)
def test_beams_that_hit_nothing_are_no_points(ranges):
    pose = (0.0, 0.1, 0.0, *PARALLEL)
    found = scan_points(ranges, (-1.0, 0.01), (0.05, 30.0), pose)
    assert found.shape == (0, 3)
    with pytest.raises(ScaleError, match='^0 beams'):
        depth_at_points(found, wall_depth(), CAMERA)
    assert scan_points([1.0] * 9, (math.nan, 0.01), (0.05, 30.0), pose).shape == (0, 3)
    assert len(scan_points([1.0] * 9, (0.0, math.inf), (0.05, 30.0), pose)) <= 1
