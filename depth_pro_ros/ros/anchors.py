"""What a rangefinder or a laser scanner says of the scale of a frame's depth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.ros.messages import stamp_ns, stamp_s
from depth_pro_ros.scale import depth_along_axis
from depth_pro_ros.scan import depth_at_points, scan_points

Measurement: TypeAlias = Range | LaserScan

KEPT = 200
"""Measurements, of which the nearest to an image in time is compared with it."""
MAX_AGE_S = 0.2
"""Most time between the stamps of a measurement and of the image that it is compared with."""
HEARD_SHARE = 0.1
"""Of the cone of an ultrasonic sensor: it tells the nearest echo."""
SILENCE_S = 10.0
"""How long nothing of use may be measured before that is reported."""


def nearest(measured: Iterable[Measurement], image: Image | CompressedImage) -> Measurement | None:
    """Give what was measured nearest to the stamp of an image, if possible something of use."""
    image_ns = stamp_ns(image.header)
    return min(
        measured,
        key=lambda each: (
            refusal(each, image) is not None,
            abs(stamp_ns(each.header) - image_ns),
        ),
        default=None,
    )


def refusal(measured: Measurement | None, image: Image | CompressedImage) -> str | None:
    """Give the reason why a measurement says nothing of an image, or None.

    At its limits a rangefinder saw nothing: many say max_range then.
    """
    if measured is None:
        return 'nothing came'
    if isinstance(measured, Range) and not (
        measured.min_range < measured.range < measured.max_range
    ):
        limits = f'{measured.min_range:g} to {measured.max_range:g} m'
        return f'the range of {measured.range:g} m is not within {limits}'
    off_s = stamp_s(measured.header) - stamp_s(image.header)
    if abs(off_s) > MAX_AGE_S:
        return f'its stamp is {off_s:+.2f} s from that of the image (limit {MAX_AGE_S:g} s)'
    return None


class Measurements:
    """Gives each measurement once, and reports where there was none of use for a while."""

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        """Take a function that reports a problem, by cause and message."""
        self._warn = warn
        self._stamp: Time | None = None
        self._useful_s = self._asked_s = -math.inf

    def take(
        self, measured: Measurement | None, image: Image | CompressedImage
    ) -> Measurement | None:
        """Give what was measured beside an image, the first time that it is asked for."""
        now_s = time.monotonic()
        if now_s - self._asked_s > SILENCE_S:
            self._useful_s = now_s  # there was no image for as long, and nothing is amiss
        self._asked_s = now_s
        reason = refusal(measured, image)
        if measured is not None and reason is None:
            if measured.header.stamp != self._stamp:
                self._stamp, self._useful_s = measured.header.stamp, now_s
                return measured
            reason = 'nothing newer came'
        if (silent_s := now_s - self._useful_s) > SILENCE_S:
            what = f'no measurement of the scale was of use for {silent_s:.0f} s'
            self._warn('scale', f'{what}: {reason}')
        return None


def compare(
    measured: Measurement,
    depth_m: NDArray[np.float32],
    camera: Intrinsics,
    scan_pose: Sequence[float],
) -> tuple[float, float]:
    """Give a measured distance and what depth says of it, in metres. Raises ScaleError."""
    if isinstance(measured, Range):
        share = HEARD_SHARE if measured.radiation_type == Range.ULTRASOUND else 0.5
        return measured.range, depth_along_axis(depth_m, camera, measured.field_of_view, share)
    points_m = scan_points(
        measured.ranges,
        (measured.angle_min, measured.angle_increment),
        (measured.range_min, measured.range_max),
        scan_pose,
    )
    return depth_at_points(points_m, depth_m, camera)
