"""The focal-length filter on sequences made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depth_pro_ros.focal import FocalFilter, FocalSettings


def noisy(focal_px: float, count: int, spread: float = 0.03, seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    return list(focal_px * np.exp(rng.normal(0.0, spread, count)))


def fed(focals_px, lens: FocalFilter | None = None) -> FocalFilter:
    lens = lens or FocalFilter()
    start_s = lens._checked_s + 2.5 if lens.count else 0.0
    for index, focal_px in enumerate(focals_px):
        lens.observe(focal_px, start_s + 2.5 * index)  # a pace at which each of them counts
    return lens


def test_noisy_estimates_lock_near_the_truth_and_the_lock_never_moves():
    lens = fed(noisy(525.0, 29))
    assert lens.lock is None
    fed(noisy(525.0, 1, seed=1), lens)
    lock = lens.lock
    assert lock.focal_px == pytest.approx(525.0, rel=0.02)
    assert 0.015 < lock.spread < 0.06
    fed(noisy(525.0, 300, seed=2), lens)
    assert lens.lock is lock and lens.jumps == 0


def test_a_lock_of_a_single_view_that_was_off_is_moved_once():
    lens = fed(noisy(0.9 * 525.0, 30, spread=0.01))  # a robot that stands
    assert lens.lock.focal_px == pytest.approx(0.9 * 525.0, rel=0.01)
    fed(noisy(525.0, 29, spread=0.05, seed=1), lens)  # and then drives
    assert lens.refinements == 0
    fed(noisy(525.0, 20, spread=0.05, seed=2), lens)
    assert lens.refinements == 1 and lens.jumps == 0
    moved = lens.lock
    assert lens.spread == moved.spread
    assert moved.focal_px == pytest.approx(525.0, rel=0.03)
    fed(noisy(525.0, 300, spread=0.05, seed=3), lens)
    assert lens.lock is moved
    fed(noisy(1.1 * 525.0, 300, spread=0.01, seed=4), lens)  # it stands again, before another view
    assert lens.lock.focal_px == pytest.approx(525.0, rel=0.05)


def test_a_third_of_wild_estimates_does_no_harm():
    focals = noisy(525.0, 60)
    focals[::3] = [1500.0, 200.0] * 10
    assert fed(focals).lock.focal_px == pytest.approx(525.0, rel=0.02)


def test_estimates_that_scatter_or_drift_do_not_lock():
    assert fed(noisy(525.0, 200, spread=0.2)).lock is None
    lens = FocalFilter()
    for focal_px in 500.0 * np.exp(np.linspace(0.0, 0.6, 240)):
        assert fed([focal_px], lens).lock is None


@pytest.mark.parametrize('learned', [12, 60], ids=['learning', 'locked'])
def test_a_jump_is_learned_anew(learned):
    lens = fed(noisy(525.0, learned))
    assert (lens.lock is not None) == (learned == 60)
    fed([700.0, 705.0, 695.0, 700.0], lens)
    assert lens.jumps == 0
    fed([702.0], lens)
    assert lens.jumps == 1 and lens.lock is None and lens.count == 5
    fed(noisy(700.0, 25), lens)
    assert lens.lock.focal_px == pytest.approx(700.0, rel=0.02)


def test_single_outliers_and_such_to_both_sides_are_no_jump():
    lens = fed(noisy(525.0, 30))
    fed([900.0, 900.0, 900.0, 900.0, 530.0] * 4, lens)
    fed([900.0, 300.0] * 10, lens)
    assert lens.lock is not None and lens.jumps == 0


def test_the_network_is_asked_while_learning_then_now_and_then_and_on_suspicion():
    lens = FocalFilter()
    assert lens.is_due(0.0, 10.0)
    fed([500.0] * 30, lens)  # the last at 72.5 s
    assert not lens.is_due(82.4, 10.0) and lens.is_due(82.5, 10.0)
    assert not lens.is_due(1e9, 0.0)
    lens.observe(900.0, 82.5)
    assert not lens.is_due(84.9, 10.0) and lens.is_due(85.0, 10.0) and lens.is_due(85.0, 0.0)
    lens.observe(500.0, 85.0)
    assert not lens.is_due(94.9, 10.0) and lens.is_due(95.0, 10.0)
    learning = fed([500.0] * 3)  # the last at 5 s
    assert not learning.is_due(5.1, 10.0) and learning.is_due(5.2, 10.0)
    assert not learning.is_due(6.9, 10.0, 2.0) and learning.is_due(7.0, 10.0, 2.0)


def test_another_camera_or_size_starts_anew():
    lens = FocalFilter()
    lens.use_camera(('front', 640, 480))
    fed([500.0] * 30, lens)
    assert not lens.use_camera(('front', 640, 480))
    assert lens.lock.focal_px == pytest.approx(500.0)
    assert lens.use_camera(('front', 1280, 960))
    assert not lens.use_camera(('rear', 1280, 960))  # there was none to lose
    assert lens.lock is None and lens.count == 0
    fed([500.0] * 30, lens)
    lens.observe(900.0, 1000.0)
    lens.relock()
    lens.observe(500.0, 1003.0)
    assert lens.lock is None and lens.count == 1


def test_it_says_what_it_is_at():
    lens = fed([500.0] * 7)
    assert str(lens) == 'learning, 7 estimates, spread 0.0%'
    fed([500.0] * 23, lens)
    fed([800.0] * 40, lens)
    assert str(lens) == 'locked at 800.0 px, spread 0.0%, relearned 1 times'


def test_the_settings_decide():
    lens = FocalFilter(FocalSettings(least=4, jumps=2))
    fed([100.0] * 4, lens)
    assert math.isclose(lens.lock.focal_px, 100.0)
    fed([150.0] * 2, lens)
    assert lens.lock is None and lens.jumps == 1


def at_rate(lens: FocalFilter, rate_hz: float, begin_s: float, seconds: float, focal_px: float):
    """Show estimates at a rate, noisy ones, and give the time after the last."""
    count = round(rate_hz * seconds)
    for index, value in enumerate(noisy(focal_px, count, seed=round(begin_s))):
        lens.observe(value, begin_s + index / rate_hz)
    return begin_s + seconds


@pytest.mark.parametrize('rate_hz', [2.0, 10.0, 30.0, 100.0])
def test_a_second_of_a_strange_view_neither_locks_nor_relocks_at_any_rate(rate_hz):
    lens = FocalFilter()
    assert lens.lock is None and at_rate(lens, rate_hz, 0.0, 1.5, 900.0) and lens.lock is None
    lens.relock()
    now_s = at_rate(lens, rate_hz, 2.0, 16.0, 525.0)
    lock = lens.lock
    assert lock is not None  # in sensible time at 2 Hz, too
    now_s = at_rate(lens, rate_hz, now_s, 5.0, 900.0)
    now_s = at_rate(lens, rate_hz, now_s, 5.0, 525.0)
    assert lens.lock is lock and lens.jumps == 0
    at_rate(lens, rate_hz, now_s, 30.0, 900.0)
    assert lens.jumps == 1 and lens.lock.focal_px == pytest.approx(900.0, rel=0.02)


@pytest.mark.parametrize('zoom', [1.35, 1 / 1.35])
def test_a_zoom_of_35_percent_is_noticed_however_much_the_estimates_scatter(zoom):
    lens = fed([525.0 * math.exp(0.06), 525.0 * math.exp(-0.06)] * 20)
    assert lens.lock.spread > 0.08
    fed([525.0 * zoom] * 5, lens)
    assert lens.jumps == 1
