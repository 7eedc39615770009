"""Points as the bytes of an organized sensor_msgs/PointCloud2."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIELDS = ('x', 'y', 'z', 'rgb')
"""FLOAT32 each, at 0, 4, 8 and 12; `rgb` holds the bytes B, G, R, 0."""
POINT_STEP = 16


def pack_points(points_m: NDArray[np.float32], rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give points (H, W, 3) with their colours (H, W, 3) as little-endian FIELDS (H, W, 4)."""
    height, width = points_m.shape[:2]
    packed = np.empty((height, width, len(FIELDS)), '<f4')
    packed[..., :3] = points_m
    colour = packed.view(np.uint8).reshape(height, width, POINT_STEP)[..., 12:]
    colour[..., :3] = rgb[..., ::-1]
    colour[..., 3] = 0
    return packed
