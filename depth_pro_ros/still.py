"""What stands still in a camera's pictures, averaged over time, as a camera's own 3D noise filter.

The noise of a sensor is enough to make a network's depth flicker. Where nothing moves, the average
of some pictures shows the same with less of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable

import cv2
import numpy as np
from numpy.typing import NDArray

AROUND_PX = 5
"""Side of the square over which differences are averaged before they are judged."""
LEAST_LEVELS, MOST_LEVELS = 4.0, 8.0
"""Grey levels that make such an average a change: four standard deviations of the noise, within
these."""
MOVING_SHARE = 0.1
"""Share of changed pixels that makes it the camera that moves: nothing is averaged then."""
EACH = np.s_[::7, ::7]
"""Pixels that tell of all: out of step with JPEG's blocks of eight."""
DRIFT = 1.2
"""How much more than noise explains the newest picture may differ from the average, beside how it
differs from the last one. Of a camera that moves the average stays behind, in dim light, too; the
noise of JPEG of quality 60 gives 1.15 at most."""
STEPS = 5
"""Of which the largest counts: some cameras send a picture twice."""
QUIET = 8
"""Pictures that must have seen the same before their average is given."""
PAUSE_S = 1.0
"""Pictures that are further apart are not averaged."""


class StillAverage:
    """The running average of one camera's pictures, but the newest one wherever something moves."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: NDArray[np.float32] = np.empty((0, 0, 3), np.float32)  # once two are averaged
        self._given: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._scratch: NDArray[np.uint8] = np.empty((2, 0, 0, 3), np.uint8)
        self._last: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._usual = self._last
        """The green of EACH pixel of the last picture and of their average, both blurred."""
        self._steps: deque[float] = deque(maxlen=STEPS)
        """Variances of the newest differences between a picture and the next."""
        self._scene: Hashable = None
        self._added_s = -math.inf

    def add(
        self, rgb: NDArray[np.uint8], frames: int, scene: Hashable, now_s: float
    ) -> NDArray[np.uint8]:
        """Give a picture (H, W, 3) with what stands still averaged with the pictures before it.

        The newest has a share of 1 / frames, and the older a picture, the less it counts. One of
        another scene (any value that tells cameras apart) or size, or after a pause, or of a camera
        that moves, begins anew. now_s: any steady time.
        """
        follows = scene == self._scene and now_s - self._added_s <= PAUSE_S
        self._scene, self._added_s = scene, now_s
        if self._scratch.shape[1:] != rgb.shape:
            self._scratch = np.empty((2, *rgb.shape), np.uint8)
        around = cv2.blur(rgb, (AROUND_PX, AROUND_PX), dst=self._scratch[0])
        last, self._last = self._last, around[EACH][..., 1].astype(np.float32)
        if follows and self._given.shape == rgb.shape:
            changed = changed_pixels(rgb, self._given, self._scratch)
            moves = cv2.countNonZero(changed) > MOVING_SHARE * changed.size
            if not moves and not self._drifts(last, cv2.bitwise_not(changed[EACH])):
                given = self._blend(rgb, changed, frames)
                return given if self._count >= min(frames, QUIET) else rgb
        self._given, self._count, self._usual = rgb, 1, self._last
        self._steps.clear()
        return rgb

    def _drifts(self, last: NDArray[np.float32], same: cv2.typing.MatLike) -> bool:
        """Tell whether the average stays behind where no pixel is a change by itself.

        Noise alone differs by sqrt(1 + 1 / n) from the average of n, and by sqrt(2) from the last;
        by less from the last where a camera itself averages, which counts as motion if it is much.
        """
        count = cv2.countNonZero(same)
        if count == 0:
            return False
        behind, step = (  # the variance: what makes all brighter alike is no motion
            float(cv2.meanStdDev(self._last - then, mask=same)[1][0, 0]) ** 2
            for then in (self._usual, last)
        )
        self._steps.append(step)
        bound = DRIFT + 2.0 / math.sqrt(count)  # of few pixels by chance
        return behind > bound**2 * 0.5 * (1.0 + 1.0 / self._count) * max(self._steps)

    def _blend(
        self, rgb: NDArray[np.uint8], changed: NDArray[np.uint8], frames: int
    ) -> NDArray[np.uint8]:
        if self._count == 1:
            self._mean = self._given.astype(np.float32)
        self._count = min(self._count + 1, frames)
        cv2.accumulateWeighted(rgb, self._mean, 1.0 / self._count)
        self._usual = self._usual + (self._last - self._usual) / np.float32(self._count)
        np.copyto(self._usual, self._last, where=changed[EACH] != 0)
        left, top, width, height = cv2.boundingRect(changed)
        where = np.s_[top : top + height, left : left + width]
        cv2.accumulateWeighted(rgb[where], self._mean[where], 1.0, mask=changed[where])
        self._given = np.asarray(cv2.convertScaleAbs(self._mean), np.uint8)
        return self._given


def changed_pixels(
    rgb: NDArray[np.uint8], before: NDArray[np.uint8], scratch: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Tell where a picture differs from another by more than noise: (H, W, 3) -> (H, W), 0 or 255.

    Noise is what the difference has beside its local mean; the median of that is not moved by
    edges that appear somewhere. scratch: (2, H, W, 3) to work in, the first of them the blurred
    picture; fresh memory would take a third of the time.
    """
    around, around_before = scratch
    cv2.blur(before, (AROUND_PX, AROUND_PX), dst=around_before)
    noise = rgb[EACH].astype(np.int16) - before[EACH] - around[EACH] + around_before[EACH]
    sigma = 1.5 * float(np.median(np.abs(noise)))
    levels = min(max(4.0 * sigma / AROUND_PX, LEAST_LEVELS), MOST_LEVELS)
    difference = cv2.absdiff(around, around_before, dst=around)
    same = cv2.inRange(difference, (0,) * 3, (levels,) * 3)
    return np.asarray(cv2.bitwise_not(same, dst=same), np.uint8)
