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

    @classmethod
    def of_maps(cls, x: NDArray[np.float32], y: NDArray[np.float32]) -> Rectifier:
        """Take where in the raw image each pixel of the rectified one is: (H, W) each."""
        maps = cv2.convertMaps(x, y, cv2.CV_16SC2)
        seen = cv2.remap(np.full(x.shape, 255, np.uint8), *maps, cv2.INTER_LINEAR)
        return cls((maps[0], maps[1]), (seen < 255) | folded(x, y))

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rectify an image (H, W, 3)."""
        return np.asarray(cv2.remap(rgb, *self.maps, cv2.INTER_LINEAR), np.uint8)


def folded(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell where maps (H, W) are of a lens model outside of what it was fitted to.

    There it shows again, mirrored, what it has shown nearer to the middle; farther out it may turn
    once more.
    """
    with np.errstate(invalid='ignore', over='ignore'):  # behind the camera it is infinite
        (x_down, x_along), (y_down, y_along) = np.gradient(x), np.gradient(y)
        plain = np.asarray(x_along * y_down > x_down * y_along, np.uint8)
    _, parts, figures, _ = cv2.connectedComponentsWithStats(plain, connectivity=4)
    largest = 1 + int(np.argmax(figures[1:, cv2.CC_STAT_AREA])) if len(figures) > 1 else -1
    return np.asarray(parts != largest)
