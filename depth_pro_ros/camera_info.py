"""What a sensor_msgs/CameraInfo says of an image, whichever library reads the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.decoding import MessageError
from depth_pro_ros.rectify import COEFFICIENTS, Rectifier

RAW, RECTIFIED = 'image_raw', 'image_rect'
"""What drivers call the images of a lens, and image_proc those without its distortion. Beside both
is the CameraInfo of the lens, whose K belongs to the former and whose P to the latter."""


class CameraInfoMessage(Protocol):
    """What is read of a CameraInfo, from rclpy's class of that name or another's."""

    width: int
    height: int
    distortion_model: str
    d: Any
    k: Any
    r: Any
    p: Any
    roi: Any


def is_calibrated(info: CameraInfoMessage) -> bool:
    """Tell whether a CameraInfo carries a calibration; K[0] == 0 says that it does not."""
    return bool(info.k[0] != 0.0)


def is_distorted(info: CameraInfoMessage) -> bool:
    """Tell whether a lens bends straight lines; a fisheye does without any coefficient, too."""
    return any(info.d) or info.distortion_model == 'equidistant'


def is_raw(info: CameraInfoMessage) -> bool:
    """Tell whether rectifying an image moves its pixels: for the lens, or for R and P."""
    turned = any(info.r) and not np.array_equal(np.reshape(info.r, (3, 3)), np.eye(3))
    fx, fy, cx, cy = (info.p[index] for index in (0, 5, 2, 6))
    moved = fx != 0.0 and (fx, fy, cx, cy) != (info.k[0], info.k[4], info.k[2], info.k[5])
    return is_distorted(info) or turned or moved


def intrinsics_for_image(
    info: CameraInfoMessage, width: int, height: int
) -> tuple[Intrinsics, Intrinsics]:
    """Give the raw (K) and the rectified (P) camera of images of a size.

    The region and binning of the CameraInfo are applied, and P is taken from K where it is empty.
    Raises MessageError where the CameraInfo cannot belong to an image of that size.
    """
    if not np.isfinite([*info.k, *info.p, *info.d, *info.r]).all():
        raise MessageError('camera_info has values that are not finite')
    region = info.roi
    full_width, full_height = region.width or info.width, region.height or info.height
    if not (full_width and full_height):
        raise MessageError(f'camera_info has a size of {full_width}x{full_height}')
    if abs(width * full_height - height * full_width) > 0.02 * height * full_width:
        raise MessageError(
            f'camera_info is for {full_width}x{full_height}, which has another shape than the '
            f'image of {width}x{height}'
        )
    p = info.p if info.p[0] != 0.0 else (*info.k[:3], 0.0, *info.k[3:6], 0.0, *info.k[6:], 0.0)
    if min(info.k[0], info.k[4], p[0], p[5]) <= 0.0:
        raise MessageError('camera_info has a focal length that is not positive')
    for focal_px in (info.k[0], info.k[4], p[0], p[5]):
        if not 1e-2 * full_width <= focal_px <= 1e3 * full_width:
            raise MessageError(
                f'camera_info has a focal length of {focal_px:g} px, which no camera has'
            )

    def scaled(fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
        cx, cy = cx - region.x_offset, cy - region.y_offset
        return Intrinsics(full_width, full_height, fx, fy, cx, cy).scaled(width, height)

    raw = scaled(info.k[0], info.k[4], info.k[2], info.k[5])
    return raw, scaled(p[0], p[5], p[2], p[6])


def camera_for_image(
    info: CameraInfoMessage, width: int, height: int, topic: str, rectify: bool = False
) -> Intrinsics:
    """Give the pinhole camera of images of a size as they come on a topic: K's of `image_raw`.

    That is the lens's in the middle of the picture. Those of any other name are taken as
    rectified, as P's, and so are all that the caller rectifies. Raises as `intrinsics_for_image`.
    """
    raw, rectified = intrinsics_for_image(info, width, height)
    return raw if RAW in topic and not rectify else rectified


def rectifier_for_image(info: CameraInfoMessage, width: int, height: int) -> Rectifier:
    """Prepare to rectify the images of a camera. Raises MessageError for an unknown lens."""
    raw, rectified = intrinsics_for_image(info, width, height)
    rotation = np.reshape(info.r, (3, 3)) if any(info.r) else np.eye(3)
    model, distortion = info.distortion_model, list(info.d) or [0.0] * 4
    if not is_distorted(info):
        model, distortion = 'plumb_bob', [0.0] * 4  # whatever it is called
    if len(distortion) not in COEFFICIENTS.get(model, ()):
        raise MessageError(
            f"camera_info: distortion model '{model}' with {len(distortion)} coefficients cannot "
            f'be rectified; there are: {COEFFICIENTS}'
        )
    undistort = (
        cv2.fisheye.initUndistortRectifyMap
        if model == 'equidistant'
        else cv2.initUndistortRectifyMap
    )
    size = width, height
    try:
        x, y = undistort(
            matrix(raw), np.array(distortion), rotation, matrix(rectified), size, cv2.CV_32FC1
        )
    except cv2.error as error:
        raise MessageError(f'camera_info: {error}') from error
    return Rectifier.of_maps(np.asarray(x), np.asarray(y))


def matrix(intrinsics: Intrinsics) -> NDArray[np.float64]:
    """Give the 3x3 matrix of a pinhole camera."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def pinhole_fields(intrinsics: Intrinsics) -> dict[str, Sequence[float]]:
    """Give d, k, r and p of the CameraInfo (`plumb_bob`) of a camera without distortion."""
    k = matrix(intrinsics)
    return {
        'd': [0.0] * 5,
        'k': k.ravel().tolist(),
        'r': np.eye(3).ravel().tolist(),
        'p': np.hstack([k, np.zeros((3, 1))]).ravel().tolist(),
    }
