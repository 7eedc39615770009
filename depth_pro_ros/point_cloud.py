"""Points as the bytes of an organized sensor_msgs/PointCloud2."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics, unproject

FIELDS = ('x', 'y', 'z', 'rgb')
"""FLOAT32 each, at 0, 4, 8 and 12; `rgb` holds the bytes B, G, R, 0."""
POINT_STEP = 16


def pack_cloud(
    depth_m: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    camera: Intrinsics,
    stride: int = 1,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Give every `stride`-th point of a depth map (H, W), coloured by its picture (H, W, 3).

    Returns (ceil(H/stride), ceil(W/stride), 4), FIELDS in little-endian; points as of `unproject`.
    out: an array of that shape to fill.
    """
    rgb = np.ascontiguousarray(rgb[::stride, ::stride])
    packed = np.empty((*rgb.shape[:2], len(FIELDS)), '<f4') if out is None else out
    unproject(depth_m, camera, stride, out=packed[..., :3])
    bgr0 = np.zeros((*rgb.shape[:2], 4), np.uint8)
    cv2.mixChannels([rgb], [bgr0], [0, 2, 1, 1, 2, 0])
    packed[..., 3] = bgr0.view('<f4')[..., 0]
    return packed
