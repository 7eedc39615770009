"""Averaging what stands still, and nothing that moves."""

import cv2
import numpy as np
import pytest

from depth_pro_ros.still import PAUSE_S, StillAverage

FRAMES = 30


class Watch:
    """A camera at 10 Hz."""

    def __init__(self) -> None:
        self.average, self.now_s = StillAverage(), 0.0

    def show(self, rgb: np.ndarray, scene: object = None, pause_s: float = 0.1) -> np.ndarray:
        self.now_s += pause_s
        return self.average.add(rgb, FRAMES, scene, self.now_s)


def scene(seed: int = 0) -> np.ndarray:
    """Smooth blobs (96, 128, 3), away from black and white."""
    coarse = np.random.default_rng(seed).uniform(70, 185, (9, 12, 3))
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_LINEAR)


def noisy(picture: np.ndarray, seed: int, sigma: float = 5.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def watch():
    """A camera that has long seen the same."""
    watch = Watch()
    for seed in range(60):
        watch.show(noisy(scene(), seed))
    return watch


@pytest.mark.parametrize('sigma', [1.0, 5.0, 9.0])
def test_noise_of_a_still_picture_is_averaged_out(sigma):
    watch, picture = Watch(), scene()
    first = noisy(picture, 0, sigma)
    assert np.array_equal(watch.show(first), first)
    steady = [watch.show(noisy(picture, seed, sigma)) for seed in range(1, 100)][40:]
    assert all(each.dtype == np.uint8 for each in steady)
    assert np.std(steady, axis=0).mean() < max(sigma / 5, 0.5)
    assert np.abs(np.mean(steady, axis=0) - picture).mean() < 1.0


@pytest.mark.parametrize(
    ('box', 'colour'),
    [
        (np.s_[40:60, 50:70], (60, 60, 60)),
        (np.s_[40:60, 50:70], (40, -20, -20)),  # no darker, no brighter
        (np.s_[:, 64:65], (-30, -30, -30)),  # a pole
        (np.s_[20:90, 20:50], (9, 9, 9)),  # in the dark
    ],
    ids=['bright', 'coloured', 'thin', 'faint'],
)
def test_what_appears_is_seen_at_once(watch, box, colour):
    changed = scene()
    changed[box] += colour
    newest = noisy(changed, 99)
    found = watch.show(newest)
    assert np.array_equal(found[box], newest[box])
    if colour != (9, 9, 9):  # the rest stays averaged
        error = np.abs(found[:, :12] - scene()[:, :12]).mean()
        assert error < 0.5 * np.abs(newest[:, :12] - scene()[:, :12]).mean()


def as_jpeg(picture: np.ndarray, quality: int | None) -> np.ndarray:
    if quality is None:
        return picture
    return cv2.imdecode(cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


@pytest.mark.parametrize('quality', [None, 80])
@pytest.mark.parametrize('light', [1.0, 0.4, 0.2, 0.1])
@pytest.mark.parametrize('shift', [1, 3])
def test_a_camera_that_moves_is_not_averaged_in_dim_light_either(shift, light, quality):
    texture = np.random.default_rng(0).uniform(60, 200, (60, 90, 3)) * light
    wide = cv2.resize(texture, (360, 240), interpolation=cv2.INTER_LINEAR)
    watch = Watch()
    for step in range(40):
        picture = as_jpeg(noisy(wide[:, shift * step :][:, :240], step, 3.0), quality)
        assert np.array_equal(watch.show(picture), picture)


@pytest.mark.parametrize('quality', [95, 80, 60])
def test_the_noise_of_jpeg_is_no_motion(quality):
    watch, picture = Watch(), cv2.resize(scene(), (640, 480))
    steady = [watch.show(as_jpeg(noisy(picture, seed), quality)) for seed in range(60)][40:]
    assert watch.average._count == FRAMES
    assert np.std(steady, axis=0).mean() < 1.0


def test_a_slow_change_of_brightness_is_no_motion(watch):
    for step in range(30):
        newest = noisy(scene() + 0.05 * step, 60 + step, 2.0)
        assert not np.array_equal(watch.show(newest), newest)


def test_a_camera_that_sends_pictures_twice_is_averaged(watch):
    for seed in range(60, 80):
        for _ in range(3):
            newest = noisy(scene(), seed)
            assert not np.array_equal(watch.show(newest), newest)


@pytest.mark.parametrize(
    ('part', 'how'),
    [
        (np.s_[:], {'pause_s': 1.01 * PAUSE_S}),
        (np.s_[:], {'scene': 'another camera'}),
        (np.s_[:50, :60], {}),
    ],
    ids=['pause', 'camera', 'size'],
)
def test_nothing_is_averaged_with_what_is_past(watch, part, how):
    newest = noisy(scene(), 99)
    assert not np.array_equal(watch.show(newest), newest)
    other = noisy(scene(), 100)[part]
    assert np.array_equal(watch.show(other, **how), other)
