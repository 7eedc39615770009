"""The scale anchor on depth whose true scale is known."""

from __future__ import annotations

import numpy as np
import pytest

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.scale import (
    LEAST,
    MAX_FACTOR,
    MIN_FACTOR,
    ScaleAnchor,
    ScaleError,
    depth_along_axis,
    height_above_floor,
)

CAMERA = Intrinsics(160, 120, 120.0, 120.0, 79.5, 59.5)


def floor_depth(height_m: float, pitch_deg: float, wall_m=8.0, noise=0.0) -> np.ndarray:
    """Give depth of a flat floor below a camera that looks down by a pitch, with a wall behind."""
    pitch = np.radians(pitch_deg)
    u, v = np.meshgrid(np.arange(160), np.arange(120))
    ray_y = (v - CAMERA.cy) / CAMERA.fy
    with np.errstate(divide='ignore'):
        floor = height_m / (ray_y * np.cos(pitch) + np.sin(pitch))
    depth = np.where((floor > 0) & (floor < wall_m), floor, wall_m).astype(np.float32)
    rng = np.random.default_rng(0)
    return depth * np.exp(rng.normal(0.0, noise, depth.shape)).astype(np.float32)


def test_the_factor_is_the_median_ratio_once_there_are_enough():
    anchor = ScaleAnchor()
    for index in range(LEAST):
        assert anchor.factor == 1.0
        anchor.observe(2.4, 2.0 if index else 1.0)
    assert anchor.factor == pytest.approx(1.2) and anchor.residual == 0.0
    for _ in range(30):
        anchor.observe(1.5, 1.0)
    assert anchor.factor == pytest.approx(1.5)


@pytest.mark.parametrize(
    'pair', [(10.0, 1.0), (1.0, 10.0), (0.0, 1.0), (np.inf, 1.0), (1.0, np.nan)]
)
def test_implausible_measurements_are_refused(pair):
    anchor = ScaleAnchor()
    with pytest.raises(ScaleError, match='implausible and refused|give no scale'):
        anchor.observe(*pair)
    assert anchor.factor == 1.0


@pytest.mark.parametrize('pitch_deg', [0.0, 10.0, 25.0, 45.0])
@pytest.mark.parametrize('noise', [0.0, 0.01])
def test_the_height_of_the_camera_is_seen_in_the_floor(pitch_deg, noise):
    depth = floor_depth(1.3, pitch_deg, noise=noise)
    depth[70:90, 20:50] = 1.0  # a box
    depth[100:, 100:110] = np.nan
    assert height_above_floor(depth, CAMERA) == pytest.approx(1.3, rel=0.02)
    assert height_above_floor(0.7 * depth, CAMERA) == pytest.approx(0.7 * 1.3, rel=0.02)


def test_where_no_floor_is_seen_there_is_no_height():
    wall = np.full((120, 160), 3.0, np.float32)
    with pytest.raises(ScaleError, match='no floor is seen'):
        height_above_floor(wall, CAMERA)
    with pytest.raises(ScaleError, match='too little depth'):
        height_above_floor(np.full((120, 160), np.nan, np.float32), CAMERA)
    noise = np.random.default_rng(0).uniform(0.5, 9.0, (120, 160)).astype(np.float32)
    with pytest.raises(ScaleError, match='no floor is seen'):
        height_above_floor(noise, CAMERA)
    for depth in (floor_depth(1.3, 60.0), floor_depth(1.3, 0.0, wall_m=3.0)):  # a ramp; a strip
        with pytest.raises(ScaleError, match='no floor is seen'):
            height_above_floor(depth, CAMERA)


def test_the_depth_along_the_axis_is_that_inside_the_cone():
    depth = np.full((120, 160), 9.0, np.float32)
    depth[50:70, 70:90] = 2.0  # 10 pixels around the centre: 9.5 degrees wide
    assert depth_along_axis(depth, CAMERA, np.radians(8.0)) == 2.0
    assert depth_along_axis(depth, CAMERA, np.radians(60.0)) == 9.0
    assert depth_along_axis(depth, CAMERA, 0.0) == 2.0
    assert depth_along_axis(depth, CAMERA, np.radians(20.0), 0.1) == 2.0  # what a sonar hears
    depth[40:80, 60:100] = np.inf
    with pytest.raises(ScaleError, match='not known'):
        depth_along_axis(depth, CAMERA, np.radians(8.0))
    with pytest.raises(ScaleError, match='field of view of the rangefinder is nan'):
        depth_along_axis(depth, CAMERA, float('nan'))
    halves = np.full((120, 160), 9.0, np.float32)
    halves[:60] = 4.0
    assert depth_along_axis(halves, CAMERA, np.radians(60.0), 0.1) == 4.0  # higher than the picture
    halves[60:] = halves[:, 80:] = np.nan
    with pytest.raises(ScaleError, match='not known'):  # a quarter is too little
        depth_along_axis(halves, CAMERA, np.radians(8.0))


def test_another_focal_length_or_camera_starts_anew():
    anchor = ScaleAnchor()

    def learned(camera, focal_px) -> float:
        anchor.use_camera(camera, focal_px)
        before = anchor.factor
        for _ in range(LEAST):
            anchor.observe(1.2, 1.0)
        return before

    assert learned('front', 500.0) == 1.0
    assert learned('front', 505.0) == pytest.approx(1.2)  # the same, as far as one can tell
    assert learned('front', 550.0) == pytest.approx(1.2 * 500 / 550)  # depth stays as it was
    assert learned('rear', 530.0) == 1.0
    assert learned('rear', None) == pytest.approx(1.2)
    assert learned('rear', None) == pytest.approx(1.2)
    assert learned('rear', 530.0) == pytest.approx(1.2)


def test_a_zoom_and_a_focal_length_that_nothing_was_measured_with_leave_the_factor():
    anchor = ScaleAnchor()
    anchor.use_camera('front', 600.0)
    anchor.use_camera('front', 500.0)
    assert anchor.factor == 1.0  # nothing was measured
    for _ in range(LEAST):
        anchor.observe(1.5, 1.0)
    anchor.use_camera('front', 400.0, calibrated=True)
    assert anchor.factor == pytest.approx(1.5 * 500 / 400)  # the lens is known better
    anchor.use_camera('front', 800.0, calibrated=True)
    assert anchor.factor == pytest.approx(1.5 * 500 / 400)  # and then zooms
    anchor.use_camera('front', 100.0)
    assert anchor.factor == MAX_FACTOR
    anchor.use_camera('front', 2000.0)
    assert anchor.factor == MIN_FACTOR


def test_measurements_before_another_focal_length_do_not_count_any_more():
    anchor = ScaleAnchor()
    anchor.use_camera('front', 500.0)
    for _ in range(LEAST):
        anchor.observe(1.5, 1.0)
    anchor.use_camera('front', 1000.0)
    for _ in range(LEAST):
        assert anchor.factor == pytest.approx(0.75)
        anchor.observe(0.9, 1.0)
    assert anchor.factor == pytest.approx(0.9)
