"""What a rangefinder or a laser scanner says of the scale of a frame's depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.ros.messages import stamp_s
from depth_pro_ros.scale import depth_along_axis
from depth_pro_ros.scan import depth_at_points, scan_points

Measurement: TypeAlias = Range | LaserScan

MAX_AGE_S = 0.5
"""Most time between the stamps of a measurement and of the image that it is compared with."""


def belongs(measured: Measurement, image: Image | CompressedImage) -> bool:
    """Tell whether something was measured at the time of an image.

    At its limits a rangefinder saw nothing: many say max_range then.
    """
    if isinstance(measured, Range) and not (
        measured.min_range < measured.range < measured.max_range
    ):
        return False
    return abs(stamp_s(measured.header) - stamp_s(image.header)) <= MAX_AGE_S


def compare(
    measured: Measurement,
    depth_m: NDArray[np.float32],
    camera: Intrinsics,
    scan_pose: Sequence[float],
) -> tuple[float, float]:
    """Give a measured distance and what depth says of it, in metres. Raises ScaleError."""
    if isinstance(measured, Range):
        return measured.range, depth_along_axis(depth_m, camera, measured.field_of_view)
    points_m = scan_points(
        measured.ranges,
        (measured.angle_min, measured.angle_increment),
        (measured.range_min, measured.range_max),
        scan_pose,
    )
    return depth_at_points(points_m, depth_m, camera)
