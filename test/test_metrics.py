"""Metrics against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depth_pro_ros.evaluation import metrics


def test_depth_errors_of_a_case_worked_out_by_hand():
    true = np.array([1.0, 2.0, 4.0, 10.0])
    predicted = np.array([1.2, 2.0, 2.0, 20.0])  # factors 1.2, 1, 0.5, 2
    errors = metrics.depth_errors(predicted, true)
    assert errors.abs_rel == pytest.approx((0.2 + 0 + 0.5 + 1) / 4)
    logs = [math.log10(1.2), 0, math.log10(2), math.log10(2)]
    assert errors.log10 == pytest.approx(sum(logs) / 4)
    assert errors.rmse_m == pytest.approx(math.sqrt((0.04 + 0 + 4 + 100) / 4))
    signed = [math.log(1.2), 0, -math.log(2), math.log(2)]
    mean = sum(signed) / 4
    variance = sum(value**2 for value in signed) / 4 - mean**2
    assert errors.si_log == pytest.approx(100 * math.sqrt(variance))
    assert errors.delta1 == 0.5
    assert errors.delta2 == 0.5  # 2 is beyond 1.5625 ...
    assert errors.delta3 == 0.5  # ... and beyond 1.953125


@pytest.mark.parametrize(
    ('factor', 'deltas'),
    [(1.2, (1, 1, 1)), (1.3, (0, 1, 1)), (1 / 1.9, (0, 0, 1)), (2.0, (0, 0, 0))],
)
def test_deltas_count_powers_of_a_quarter(factor, deltas):
    errors = metrics.depth_errors(np.array([factor]), np.array([1.0]))
    assert (errors.delta1, errors.delta2, errors.delta3) == deltas


def test_scale_invariant_error_ignores_scale_alone():
    true = np.array([1.0, 2.0, 5.0])
    assert metrics.depth_errors(3 * true, true).si_log == pytest.approx(0, abs=1e-9)
    assert metrics.depth_errors(true[::-1], true).si_log > 50


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match='no two depths'):
        metrics.depth_errors(np.array([]), np.array([]))


def test_median_scale():
    # not the median of the ratios, which is 3
    assert metrics.median_scale(np.array([1.0, 2.0, 9.0]), np.array([3.0, 6.0, 5.0])) == 2.5


def test_focal_error_is_relative_to_the_truth():
    assert metrics.focal_error(500.0, 400.0) == pytest.approx(0.25)
    assert metrics.focal_error(300.0, 400.0) == pytest.approx(0.25)


def step(at: int, near_m: float = 1.0, far_m: float = 2.0) -> np.ndarray:
    """Give 6 rows of 8 pixels: near up to the column `at`, far from there."""
    depth = np.full((6, 8), far_m)
    depth[:, :at] = near_m
    return depth


def test_boundaries_that_agree_count_in_the_one_direction_that_has_any():
    # one of the four directions has contours: precision = recall = 1/4, as the paper's average is
    assert metrics.boundary_f1(step(4), step(4)) == pytest.approx(0.25)


def test_boundary_f1_of_contours_in_all_directions():
    square = np.full((8, 8), 2.0)
    square[2:6, 2:6] = 1.0
    assert metrics.boundary_f1(7 * square, square) == pytest.approx(1.0)
    moved = np.roll(square, 1, axis=1)
    # vertical edges miss; 3 of 4 pixels of the horizontal ones hit: P = R = (0 + 0 + .75 + .75) / 4
    assert metrics.boundary_f1(moved, square) == pytest.approx(0.375)


def test_boundary_f1_weights_the_larger_ratios():
    truth = step(4, far_m=1.16)  # a contour at ratios below 1.16: 1.05 to 1.1389, five of ten
    ratios = np.linspace(1.05, 1.25, 10)
    expected = 0.25 * ratios[:5].sum() / ratios.sum()
    assert metrics.boundary_f1(truth, truth) == pytest.approx(expected)


def test_boundary_f1_leaves_unknown_pixels_out():
    truth, predicted = step(4), step(4)
    predicted[0] = [1, 3, 1, 3, 1, 3, 1, 3]  # noise where nothing is known
    truth[0] = np.nan
    assert metrics.boundary_f1(predicted, truth) == pytest.approx(0.25)
    truth[1:4] = np.nan
    assert math.isnan(metrics.boundary_f1(predicted, truth))


def test_boundary_recall_takes_the_strongest_step_of_a_run():
    alpha = np.full((4, 8), 0.05)
    alpha[:, :4] = 0.5
    sharp = step(4)[:4]
    assert metrics.boundary_recall(sharp, alpha) == pytest.approx(0.25)
    soft = np.tile([1, 1, 1, 1.3, 1.8, 2.5, 2.5, 2.5], (4, 1))  # steps 1.3, 1.385, 1.389
    assert metrics.boundary_recall(soft, alpha) == 0.0  # the run's strongest is past the outline
    assert metrics.boundary_recall(1 / sharp, alpha) == 0.0  # the mask's inside is not nearer


def test_boundary_recall_thins_rows_apart():
    # one run must not go on from the end of a row into the next: each row keeps its own contour
    alpha = np.zeros((2, 3))
    alpha[:, 0] = 1.0
    predicted = np.array([[1.0, 3.0, 4.0], [1.0, 2.0, 3.0]])
    assert metrics.boundary_recall(predicted, alpha) == pytest.approx(0.25)
