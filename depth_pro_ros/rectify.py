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


def make_rectifier(
    model: str,
    distortion: list[float],
    raw: NDArray[np.float64],
    rotation: NDArray[np.float64],
    rectified: NDArray[np.float64],
    size: tuple[int, int],
) -> Rectifier:
    """Prepare the maps for images of `size` (width, height).

    raw, rotation, rectified: 3x3 matrices, K, R and the left of P of a CameraInfo.
    Raises ValueError for a distortion model that is not known.
    """
    if len(distortion) not in COEFFICIENTS.get(model, ()):
        raise ValueError(
            f"distortion model '{model}' with {len(distortion)} coefficients cannot be rectified; "
            f'there are: {COEFFICIENTS}'
        )
    undistort = (
        cv2.fisheye.initUndistortRectifyMap
        if model == 'equidistant'
        else cv2.initUndistortRectifyMap
    )
    maps = undistort(raw, np.array(distortion), rotation, rectified, size, cv2.CV_16SC2)
    seen = cv2.remap(np.full(size[::-1], 255, np.uint8), *maps, cv2.INTER_LINEAR)
    return Rectifier((maps[0], maps[1]), seen < 255)
