"""What stands still in a camera's pictures, averaged over time, as a camera's own 3D noise filter.

The noise of a sensor is enough to make a network's depth flicker. Where nothing moves, the average
of some pictures has less of it, and the newest one tells nothing that it does not.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 8
CHANGE = 4.0
"""Grey levels by which the mean of a block differs where something moved. Noise of 10 of them moves
it by 0.7, and JPEG hardly more."""
MOVING = 0.1
"""Share of changed blocks that makes it the camera that moves: nothing is averaged then."""


class StillAverage:
    """The running average of one camera's pictures, begun anew wherever something moves."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew with the next picture."""
        self._mean: NDArray[np.float32] | None = None
        self._blocks = np.empty((0, 0), np.float32)
        self._count = 0

    def add(self, rgb: NDArray[np.uint8], frames: int) -> NDArray[np.uint8]:
        """Give a picture (H, W, 3) with what stands still averaged over about `frames` of them.

        Wherever a block differs from the average, the picture is the newest one's.
        """
        height, width = rgb.shape[:2]
        size = (-(-width // BLOCK_PX), -(-height // BLOCK_PX))
        blocks = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).mean(axis=2, dtype=np.float32)
        if self._mean is not None and self._mean.shape == rgb.shape:
            changed = np.abs(blocks - self._blocks) > CHANGE
            if changed.mean() <= MOVING:
                return self._blend(rgb, blocks, changed, frames)
        self._mean, self._blocks, self._count = rgb.astype(np.float32), blocks, 1
        return rgb

    def _blend(
        self,
        rgb: NDArray[np.uint8],
        blocks: NDArray[np.float32],
        changed: NDArray[np.bool_],
        frames: int,
    ) -> NDArray[np.uint8]:
        assert self._mean is not None
        self._count = min(self._count + 1, frames)
        for new, mean in ((rgb, self._mean), (blocks, self._blocks)):
            cv2.accumulateWeighted(new, mean, 1.0 / self._count)
            if changed.any():  # and their neighbours, whose edge it may have crossed
                around = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8))
                where = cv2.resize(around, mean.shape[1::-1], interpolation=cv2.INTER_NEAREST)
                mean[where > 0] = new[where > 0]
        return np.asarray(cv2.convertScaleAbs(self._mean), np.uint8)
