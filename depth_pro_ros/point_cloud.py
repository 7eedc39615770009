"""Points as the bytes of an organized sensor_msgs/PointCloud2."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics, along_rays

FIELDS = ('x', 'y', 'z', 'rgb')
"""FLOAT32 each, at 0, 4, 8 and 12; `rgb` holds the bytes B, G, R, 0."""
POINT_STEP = 16
ROWS = 16
"""Packed at once, so that what is made on the way stays in the processor's cache."""


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
    height, width = depth_m.shape
    rays_x, rays_y = camera.rays(width, height, stride)
    z, rgb = depth_m[::stride, ::stride], rgb[::stride, ::stride]
    packed = np.empty((*z.shape, len(FIELDS)), '<f4') if out is None else out
    for top in range(0, len(z), ROWS):
        rows = slice(top, top + ROWS)
        bgra = cv2.cvtColor(np.ascontiguousarray(rgb[rows]), cv2.COLOR_RGB2BGRA)
        colour = bgra.view('<u4')[..., 0] & 0xFFFFFF  # B, G, R, 0
        points = along_rays(z[rows], rays_x, rays_y[rows])
        cv2.merge([*points, colour.view('<f4')], dst=packed[rows])
    return packed
