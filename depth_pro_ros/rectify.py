"""Removes lens distortion, so that the network sees the pinhole camera that it assumes."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8,), 'equidistant': (4,)}
"""Distortion model of sensor_msgs -> how many coefficients it may have."""


@dataclasses.dataclass(frozen=True)
class Rectifier:
    """Maps from the pixels of a rectified image to those of the raw one."""

    maps: tuple[cv2.typing.MatLike, cv2.typing.MatLike]
    unseen: NDArray[np.bool_]
    """(H, W), True where the lens saw nothing; depth there is unknown."""

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rectify an image (H, W, 3)."""
        return np.asarray(cv2.remap(rgb, *self.maps, cv2.INTER_LINEAR), np.uint8)
