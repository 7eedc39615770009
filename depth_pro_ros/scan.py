"""A laser scanner beside a camera: what its beams hit, and how far depth says that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.scale import ScaleError

LEAST_BEAMS = 20
"""That must hit something the camera sees, for a scan to tell the scale."""
NEAREST_M = 0.1
"""Of what a beam hits, along the optical axis: nearer, a pixel is a matter of millimetres."""


def scan_points(
    ranges_m: Sequence[float],
    angles_rad: tuple[float, float],
    limits_m: tuple[float, float],
    pose: Sequence[float],
) -> NDArray[np.float64]:
    """Give what the beams hit, in the camera's optical frame: (N, 3), metres.

    angles_rad: of the first beam, and from one to the next (REP 103: x ahead, y left, z up).
    limits_m: between which the sensor measures; beyond them it saw nothing.
    pose: x, y, z in metres and roll, pitch, yaw in radians (about fixed axes, as in URDF) of the
    scanner in the optical frame (x right, y down, z ahead).
    """
    ranges = np.asarray(ranges_m, np.float64)
    with np.errstate(invalid='ignore'):  # of a message with infinite angles
        angles = angles_rad[0] + angles_rad[1] * np.arange(len(ranges))
    kept = (limits_m[0] < ranges) & (ranges < limits_m[1]) & np.isfinite(angles)
    ranges, angles = ranges[kept], angles[kept]
    flat = np.column_stack([ranges * np.cos(angles), ranges * np.sin(angles), 0.0 * ranges])
    return flat @ rotation(*pose[3:]).T + np.asarray(pose[:3])


def rotation(roll: float, pitch: float, yaw: float) -> NDArray[np.float64]:
    """Give the rotation (3, 3) by angles in radians about the fixed axes x, then y, then z."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def depth_at_points(
    points_m: NDArray[np.float64], depth_m: NDArray[np.float32], camera: Intrinsics
) -> tuple[float, float]:
    """Give the true and the estimated depth, in metres, of the point with the median ratio.

    points_m: (N, 3) in the optical frame. The median forgives beams that hit what is hidden from
    the camera, and depth edges. Raises ScaleError where too few points have a depth.
    """
    x, y, z = points_m[points_m[:, 2] > NEAREST_M].T
    column, row = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    height, width = depth_m.shape
    seen = (np.abs(column - (width - 1) / 2) < width / 2) & (
        np.abs(row - (height - 1) / 2) < height / 2
    )
    estimated = depth_m[np.rint(row[seen]).astype(int), np.rint(column[seen]).astype(int)]
    known = np.isfinite(estimated) & (estimated > 0)
    true, estimated = z[seen][known], estimated[known]
    if len(true) < LEAST_BEAMS:
        raise ScaleError(
            f'{len(true)} beams of the scan hit what the camera sees, {LEAST_BEAMS} are needed: '
            'check scan_pose'
        )
    middle = np.argsort(true / estimated)[len(true) // 2]
    return float(true[middle]), float(estimated[middle])
