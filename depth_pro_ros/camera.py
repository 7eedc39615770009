"""Pinhole cameras: field of view, focal length, intrinsics, unprojection."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

MIN_SIDE, MAX_SIDE, MAX_PIXELS = 16, 8192, 8192 * 4320
"""What an image may measure: up to 8K, and bounded, so that one message cannot take all memory."""
MIN_FOV_DEG, MAX_FOV_DEG = 1.0, 170.0
"""A horizontal field of view outside of these is no camera's."""


def check_size(width: int, height: int) -> None:
    """Raise ValueError for an image that is too small or too large for depth."""
    sides = min(width, height) >= MIN_SIDE and max(width, height) <= MAX_SIDE
    if not sides or width * height > MAX_PIXELS:
        raise ValueError(
            f'an image of {width}x{height} is outside of {MIN_SIDE} to {MAX_SIDE} pixels a side '
            f'and {MAX_PIXELS / 1e6:.0f} megapixels: resize it'
        )


def focal_from_fov(fov_deg: float, width: int) -> float:
    """Give the focal length in pixels of a horizontal field of view across `width` pixels."""
    return 0.5 * width / math.tan(0.5 * math.radians(fov_deg))


def fov_from_focal(focal_px: float, width: int) -> float:
    """Give the horizontal field of view in degrees of a focal length in pixels."""
    return math.degrees(2.0 * math.atan(0.5 * width / focal_px))


@dataclasses.dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera in pixels; integer coordinates are pixel centres, as in OpenCV and ROS."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_focal(cls, focal_px: float, width: int, height: int) -> Intrinsics:
        """Give square pixels with the principal point in the middle of the picture."""
        return cls(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)

    def scaled(self, width: int, height: int) -> Intrinsics:
        """Give the same camera at another image size."""
        x, y = width / self.width, height / self.height
        return Intrinsics(
            width,
            height,
            self.fx * x,
            self.fy * y,
            (self.cx + 0.5) * x - 0.5,
            (self.cy + 0.5) * y - 0.5,
        )

    def rays(
        self, width: int, height: int, stride: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give x/z of every `stride`-th column (ceil(width/stride),), and y/z of the rows."""
        x = (np.arange(0, width, stride) - self.cx) / self.fx
        y = (np.arange(0, height, stride) - self.cy) / self.fy
        return x.astype(np.float32), y.astype(np.float32)


def unproject(
    depth_m: NDArray[np.float32], intrinsics: Intrinsics, stride: int = 1
) -> NDArray[np.float32]:
    """Give the points of every `stride`-th pixel in the optical frame (REP 103), in metres.

    depth_m: (H, W) along Z. Returns (ceil(H/stride), ceil(W/stride), 3): x right, y down, z
    forward; NaN in all three where depth is not finite.
    """
    height, width = depth_m.shape
    rays_x, rays_y = intrinsics.rays(width, height, stride)
    return np.stack(along_rays(depth_m[::stride, ::stride], rays_x, rays_y), axis=-1)


def along_rays(
    z: NDArray[np.float32], rays_x: NDArray[np.float32], rays_y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Give x, y, z of depths (h, w) along rays (w,) and (h,); NaN where one is not finite."""
    z = np.where(np.isfinite(z), z, np.float32(np.nan))
    return z * rays_x, z * rays_y[:, None], z


def limit_depth(
    depth_m: NDArray[np.float32], min_depth: float, max_depth: float
) -> NDArray[np.float32]:
    """Mark what is out of range as REP 117 asks, in place: nearer -Inf, farther +Inf; NaN stays."""
    np.copyto(depth_m, np.float32(np.inf), where=depth_m > max_depth)
    np.copyto(depth_m, np.float32(-np.inf), where=depth_m < min_depth)
    return depth_m


def depth_to_millimetres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Give 16-bit millimetres; 0 where depth is not finite, or over 65.535 m (REP 118)."""
    known = np.isfinite(depth_m) & (depth_m < 65.5355)
    return np.rint(np.where(known, depth_m * 1000.0, 0.0)).clip(0.0).astype(np.uint16)
