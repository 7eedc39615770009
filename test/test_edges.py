"""Flying pixels are those of the depth edges, and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import TINY_SHARED, lively_network

from depth_pro_ros.edges import flying_pixels
from depth_pro_ros.estimator import DepthEstimator

INF, NAN = float('inf'), float('nan')


@pytest.mark.parametrize(
    ('row', 'marked'),
    [
        ([2.0, 2.1, 2.2, 2.3], [0, 0, 0, 0]),
        ([2.0, 2.0, 3.0, 3.0], [0, 1, 1, 0]),
        ([3.0, 3.0, 2.0, 2.0], [0, 1, 1, 0]),
        ([2.0, 2.4, 3.0, 3.0], [0, 1, 1, 0]),
        ([2.0, 2.0, INF, INF], [0, 1, 0, 0]),
        ([INF, INF, INF, INF], [0, 0, 0, 0]),
        ([2.0, NAN, 9.0, 9.0], [0, 0, 0, 0]),
        ([2.0, 2.5, 2.5, 2.5], [1, 1, 0, 0]),
    ],
)
def test_a_row_and_a_column(row, marked):
    depth = torch.tensor([row, row], dtype=torch.float32)
    expected = torch.tensor([marked, marked], dtype=torch.bool)
    assert torch.equal(flying_pixels(depth, 1.25), expected)
    assert torch.equal(flying_pixels(depth.T, 1.25), expected.T)


def test_the_estimator_marks_them_where_asked():
    estimator = DepthEstimator(lively_network(TINY_SHARED), torch.device('cpu'), torch.float32)
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    plain = estimator.predict(rgb, 100.0).depth_m
    cleaned = estimator.predict(rgb, 100.0, edge_ratio=2.0).depth_m
    removed = np.isnan(cleaned)
    assert not np.isnan(plain).any() and 0.01 < removed.mean() < 0.9
    np.testing.assert_array_equal(cleaned[~removed], plain[~removed])
    expected = flying_pixels(torch.from_numpy(plain), 2.0).numpy()
    np.testing.assert_array_equal(removed, expected)


@pytest.mark.parametrize('ratio', [1.1, 1.25])
@pytest.mark.parametrize('size', [(1280, 720), (600, 300), (200, 400)])
@pytest.mark.parametrize('upright', [True, False])
def test_an_edge_of_the_network_is_one_in_a_larger_picture(upright, size, ratio):
    estimator = DepthEstimator(lively_network(TINY_SHARED), torch.device('cpu'), torch.float32)
    canonical = torch.ones(1, 1, 256, 256)
    (canonical if upright else canonical.mT)[..., 100:] = 1 / 1.3
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    depth = estimator._metric(canonical, None, rgb, float(size[0]), ratio)().depth_m
    known = depth[np.isfinite(depth)]
    assert ((known < 1.0 + 1e-5) | (known > 1.3 - 1e-5)).all()
    assert np.isfinite(depth).mean() > 1 - 3 / 256


def test_a_second_opinion_on_the_focal_length_leaves_depth_alone():
    estimator = DepthEstimator(lively_network(TINY_SHARED), torch.device('cpu'), torch.float32)
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    own = estimator.predict(rgb)
    given = estimator.predict(rgb, 100.0)
    asked = estimator.predict(rgb, 100.0, estimate_focal=True)
    assert own.estimated_focal_px == own.focal_px == asked.estimated_focal_px
    assert given.estimated_focal_px is None and asked.focal_px == given.focal_px == 100.0
    np.testing.assert_array_equal(asked.depth_m, given.depth_m)
