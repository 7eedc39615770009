"""One slowly changing factor that makes depth agree with a distance that is known."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics, unproject

MIN_FACTOR, MAX_FACTOR = 1 / 3, 3.0
"""A factor outside of these is a mistake, such as a sensor that looks elsewhere."""
LEAST, WINDOW = 10, 100
"""Measurements before a factor is used, and the newest that it is the median of."""
MAX_FOCAL_CHANGE = 0.03
"""Relative change of the focal length that a factor outlives: depth scales with it."""
MAX_SLOPE_DEG = 50.0
"""Largest angle between the normal of a floor and the camera's downward axis."""
MIN_FLOOR_SHARE = 0.3
"""Share of the points in the lower half of the image that must lie on the floor."""
FLOOR_TOLERANCE = 0.04
"""How far from the plane a point of the floor may be, relative to the plane's distance."""


class ScaleError(ValueError):
    """A measurement that cannot be used; the message says why."""


class ScaleAnchor:
    """The median ratio of measured to estimated distances; 1 until there are enough."""

    def __init__(self) -> None:
        self._logs: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._camera: Hashable = None
        self._focal_px: float | None = None
        self._calibrated = False
        self._before = 1.0
        """The factor until there are enough measurements."""

    def use_camera(
        self, camera: Hashable, focal_px: float | None, calibrated: bool = False
    ) -> None:
        """Say what the next depth was computed with; another camera or focal length starts anew.

        Until enough is measured, the factor of before holds. If a focal length is known better now,
        it holds for what depth was; if one calibration follows another, the lens has zoomed.
        focal_px: None where each frame has its own, which is part of what the factor of a distance
        corrects.
        """
        known = self._focal_px
        change = math.log(focal_px / known) if focal_px and known else 0.0
        if camera != self._camera:
            self._before = 1.0
        elif (focal_px is None) != (known is None) or abs(change) > MAX_FOCAL_CHANGE:
            measured, zoomed = self.factor != 1.0, calibrated and self._calibrated
            held = self.factor / math.exp(change) if measured and not zoomed else self.factor
            self._before = min(max(held, MIN_FACTOR), MAX_FACTOR)
        else:
            return
        self._logs.clear()
        self._camera, self._focal_px, self._calibrated = camera, focal_px, calibrated

    def observe(self, measured_m: float, estimated_m: float) -> None:
        """Take in two distances of the same thing. Raises ScaleError for an implausible ratio."""
        if not (0.0 < measured_m < math.inf and 0.0 < estimated_m < math.inf):
            raise ScaleError(f'distances of {measured_m:g} and {estimated_m:g} m give no scale')
        ratio = measured_m / estimated_m
        if not MIN_FACTOR <= ratio <= MAX_FACTOR:
            raise ScaleError(
                f'{measured_m:.2f} m measured where {estimated_m:.2f} m are estimated: a factor of '
                f'{ratio:.2f} is implausible and refused'
            )
        self._logs.append(math.log(ratio))

    @property
    def factor(self) -> float:
        """What to multiply depth by."""
        return math.exp(statistics.median(self._logs)) if len(self._logs) >= LEAST else self._before

    @property
    def residual(self) -> float:
        """Median relative deviation of the measurements from the factor."""
        if not self._logs:
            return 0.0
        center = statistics.median(self._logs)
        return statistics.median(abs(value - center) for value in self._logs)


def depth_along_axis(
    depth_m: NDArray[np.float32], camera: Intrinsics, fov_rad: float, share: float = 0.5
) -> float:
    """Give the depth in metres that a share of a cone around the optical axis is nearer than.

    fov_rad: of the whole cone. Raises ScaleError where depth is not known there.
    """
    if not math.isfinite(fov_rad):
        raise ScaleError(f'the field of view of the rangefinder is {fov_rad}')
    radius_px = max(2.0, camera.fx * math.tan(0.5 * min(max(fov_rad, 0.0), 2.0)))
    top, bottom = (round(camera.cy + side * radius_px) for side in (-1, 1))
    left, right = (round(camera.cx + side * radius_px) for side in (-1, 1))
    top, left = max(top, 0), max(left, 0)
    patch = depth_m[top : max(bottom + 1, 0), left : max(right + 1, 0)]
    rows, columns = np.ogrid[: patch.shape[0], : patch.shape[1]]
    inside = np.hypot(rows + top - camera.cy, columns + left - camera.cx) <= radius_px
    known = patch[inside & np.isfinite(patch)]
    if known.size == 0 or known.size < 0.5 * np.count_nonzero(inside):
        raise ScaleError('depth along the optical axis is not known')
    return float(np.quantile(known, share))


def height_above_floor(depth_m: NDArray[np.float32], camera: Intrinsics) -> float:
    """Give the distance in metres from the camera to the plane that most of the lower half shows.

    A wrong focal length hardly moves it: what lies below is as much nearer as it seems more steep.
    The best of 200 planes through three random points, then a least-squares fit to what lies on it.
    Raises ScaleError where no floor is seen.
    """
    stride = max(1, camera.height // 60)
    lower = depth_m[camera.height // 2 :]
    shifted = Intrinsics(
        camera.width, len(lower), camera.fx, camera.fy, camera.cx, camera.cy - camera.height // 2
    )
    points = unproject(lower, shifted, stride).reshape(-1, 3).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 50:
        raise ScaleError('too little depth is known in the lower half of the image')
    corners = points[np.random.default_rng(0).integers(0, len(points), (200, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    corners, normals = corners[lengths > 1e-9], normals[lengths > 1e-9]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    distances = (corners[:, 0] * normals).sum(axis=1)
    upright = np.abs(normals[:, 1]) >= math.cos(math.radians(MAX_SLOPE_DEG))
    if not upright.any():
        raise ScaleError('no floor is seen in the lower half of the image')
    normals, distances = normals[upright], distances[upright]
    near = np.abs(points @ normals.T - distances) <= FLOOR_TOLERANCE * np.abs(distances)
    best = int(near.sum(axis=0).argmax())
    floor = points[near[:, best]]
    if len(floor) < MIN_FLOOR_SHARE * len(points):
        raise ScaleError('no floor is seen in the lower half of the image')
    center = floor.mean(axis=0)
    normal = np.linalg.svd(floor - center, full_matrices=False)[2][2]
    return float(abs(center @ normal))
