"""Pinhole cameras, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depth_pro_ros.camera import (
    Intrinsics,
    depth_to_millimetres,
    focal_from_fov,
    fov_from_focal,
    limit_depth,
    unproject,
)


def test_field_of_view_and_focal_length():
    assert math.isclose(focal_from_fov(90.0, 640), 320.0)
    assert math.isclose(fov_from_focal(320.0, 640), 90.0)
    assert math.isclose(focal_from_fov(60.0, 100), 50.0 * math.sqrt(3.0))


def test_principal_point_is_in_the_middle_of_the_pixels():
    camera = Intrinsics.from_focal(100.0, 4, 3)
    assert (camera.cx, camera.cy) == (1.5, 1.0)


def test_scaling_keeps_the_rays_of_pixel_corners():
    camera = Intrinsics(640, 480, 500.0, 510.0, 320.0, 240.0)
    half = camera.scaled(320, 120)
    assert (half.fx, half.fy) == (250.0, 127.5)
    for u in (-0.5, 639.5):  # left and right border
        assert math.isclose((u - 320.0) / 500.0, ((u + 0.5) / 2 - 0.5 - half.cx) / 250.0)


def test_unprojection_by_hand():
    depth = np.array([[2.0, 2.0, np.nan], [4.0, np.inf, -np.inf]], np.float32)
    points = unproject(depth, Intrinsics(3, 2, 2.0, 4.0, 1.0, 0.0))
    np.testing.assert_array_equal(points[0, 0], [-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(points[0, 1], [0.0, 0.0, 2.0])
    np.testing.assert_array_equal(points[1, 0], [-2.0, 1.0, 4.0])
    assert np.isnan(points[[0, 1, 1], [2, 1, 2]]).all()


@pytest.mark.parametrize(('stride', 'shape'), [(1, (5, 7)), (2, (3, 4)), (7, (1, 1)), (64, (1, 1))])
def test_strided_clouds_keep_every_nth_pixel(stride, shape):
    depth = np.random.default_rng(0).uniform(1, 5, (5, 7)).astype(np.float32)
    camera = Intrinsics(7, 5, 3.0, 3.5, 2.9, 2.1)
    points = unproject(depth, camera, stride)
    assert points.shape == (*shape, 3) and points.dtype == np.float32
    np.testing.assert_array_equal(points, unproject(depth, camera)[::stride, ::stride])


def test_out_of_range_depth_is_marked_as_rep_117_asks():
    depth = np.array([0.05, 0.1, 5.0, 10.0, 10.1, np.inf, np.nan], np.float32)
    expected = [-np.inf, 0.1, 5.0, 10.0, np.inf, np.inf, np.nan]
    np.testing.assert_array_equal(limit_depth(depth, 0.1, 10.0), np.array(expected, np.float32))


def test_millimetres_are_zero_where_they_cannot_tell():
    depth = np.array([0.0004, 0.0016, 1.2345, 65.535, 70.0, np.inf, -np.inf, np.nan], np.float32)
    expected = [0, 2, 1234, 65535, 0, 0, 0, 0]
    np.testing.assert_array_equal(depth_to_millimetres(depth), expected)
