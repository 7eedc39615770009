"""Equirectangular maps: which direction a pixel looks in, and what is to be seen in a direction.

Directions have X to the front (the middle of the map), Y to the left, Z up.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def angles(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give longitude (W,), left positive, and latitude (H,), up positive, of pixels, in radians."""
    longitude = (0.5 - (np.arange(width) + 0.5) / width) * 2 * np.pi
    return longitude, (0.5 - (np.arange(height) + 0.5) / height) * np.pi


def directions(height: int, width: int) -> NDArray[np.float64]:
    """Give the unit vectors (H, W, 3) of a map's pixels."""
    longitude, latitude = np.meshgrid(*angles(height, width))
    level = np.cos(latitude)
    return np.stack([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)], -1)


def look_up(
    sphere: NDArray[np.floating], towards: NDArray[np.float64], interpolation: int
) -> NDArray[np.float32]:
    """Give what a map (H, W) or (H, W, 3) has in directions (h, w, 3) of any length."""
    height, width = sphere.shape[:2]
    longitude = np.arctan2(towards[..., 1], towards[..., 0])
    latitude = np.arctan2(towards[..., 2], np.hypot(towards[..., 0], towards[..., 1]))
    x = (0.5 - longitude / (2 * np.pi)) * width + 0.5  # of the map with a column more each side
    y = (0.5 - latitude / np.pi) * height - 0.5
    closed = np.concatenate([sphere[:, -1:], sphere, sphere[:, :1]], axis=1).astype(np.float32)
    seen = cv2.remap(
        closed,
        x.astype(np.float32),
        y.astype(np.float32),
        interpolation,
        None,
        cv2.BORDER_REPLICATE,
    )
    return np.asarray(seen, np.float32)
