"""Averaging what stands still, and nothing that moves."""

import numpy as np
import pytest

from depth_pro_ros.still import StillAverage

FRAMES = 30


def scene(seed: int = 0) -> np.ndarray:
    """Smooth blobs (96, 128, 3), away from black and white."""
    import cv2

    coarse = np.random.default_rng(seed).uniform(40, 215, (9, 12, 3))
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def noisy(picture: np.ndarray, seed: int, sigma: float = 8.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_noise_of_a_still_picture_is_averaged_out():
    average, picture = StillAverage(), scene()
    first = average.add(noisy(picture, 0), FRAMES)
    assert np.array_equal(first, noisy(picture, 0))
    steady = [average.add(noisy(picture, seed), FRAMES) for seed in range(1, 90)][40:]
    assert all(each.dtype == np.uint8 for each in steady)
    assert np.std(steady, axis=0).mean() < 8.0 / 5
    assert np.abs(np.mean(steady, axis=0) - picture).mean() < 1.0


def test_what_moves_is_the_newest():
    average, picture = StillAverage(), scene()
    for seed in range(20):
        average.add(noisy(picture, seed), FRAMES)
    picture[40:60, 50:70] = 255 - picture[40:60, 50:70]
    newest = noisy(picture, 99)
    found = average.add(newest, FRAMES)
    assert np.array_equal(found[40:60, 50:70], newest[40:60, 50:70])
    rest = np.abs(found[:30].astype(float) - picture[:30]).mean()
    assert rest < 0.5 * np.abs(newest[:30].astype(float) - picture[:30]).mean()


@pytest.mark.parametrize('shift', [1, 3])
def test_a_camera_that_moves_is_not_averaged(shift):
    average, wide = StillAverage(), np.tile(scene(), (1, 2, 1))
    for step in range(10):
        found = average.add(picture := noisy(wide[:, shift * step :][:, :128], step), FRAMES)
        if step * shift > 3:
            difference = np.abs(found.astype(float) - picture)
            assert difference.mean() < 8.0  # of the size of the noise: no old edges
    assert np.array_equal(average.add(noisy(scene(5), 1), FRAMES), noisy(scene(5), 1))


def test_another_size_begins_anew():
    average = StillAverage()
    average.add(noisy(scene(), 0), FRAMES)
    other = noisy(scene(), 1)[:50, :60]
    assert np.array_equal(average.add(other, FRAMES), other)
    average.forget()
    assert np.array_equal(average.add(noisy(scene(), 2), FRAMES), noisy(scene(), 2))
