"""Which intrinsics hold for an image, and the image rectified where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.camera_info import (
    camera_for_image,
    is_calibrated,
    is_raw,
    rectifier_for_image,
)
from depth_pro_ros.decoding import MessageError
from depth_pro_ros.rectify import Rectifier
from depth_pro_ros.ros.parameters import NodeParameters


class View(NamedTuple):
    """An image as of a pinhole camera."""

    rgb: NDArray[np.uint8]
    intrinsics: Intrinsics | None
    """None: not known, to be estimated."""
    unseen: NDArray[np.bool_] | None = None
    """(H, W), True where rectification left pixels without a value; None: nowhere."""


class Calibration:
    """Applies CameraInfo and the parameters to one image after the other."""

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        """Take a function that reports a problem, by cause and message."""
        self._warn = warn
        self._rectifier: Rectifier | None = None
        self._rectifier_of: tuple[object, ...] = ()

    def view(
        self,
        rgb: NDArray[np.uint8],
        info: CameraInfo | None,
        parameters: NodeParameters,
        topic: str,
    ) -> View:
        """Give the view of an image (H, W, 3) of a topic.

        Raises MessageError where none can be had.
        """
        height, width = rgb.shape[:2]
        if parameters.intrinsics == 'fov':
            return View(rgb, None)
        if parameters.intrinsics == 'fixed':
            return View(rgb, Intrinsics.from_focal(parameters.focal_px, width, height))
        required = parameters.intrinsics == 'camera_info'
        if info is None or not is_calibrated(info):
            if parameters.rectify:
                self._warn('rectify', 'no calibration on camera_info: nothing is rectified')
            if required:
                raise MessageError(
                    'no calibration on camera_info, which intrinsics: camera_info needs; remap '
                    'camera_info, or set intrinsics to auto, fov or fixed'
                )
            return View(rgb, None)
        try:
            intrinsics = camera_for_image(info, width, height, topic, parameters.rectify)
        except MessageError as error:
            if required:
                raise
            self._warn('camera_info', f'{error}; the focal length is estimated instead')
            return View(rgb, None)
        if not (parameters.rectify and is_raw(info)):
            return View(rgb, intrinsics)
        lens = lens_of(info, width, height)
        if self._rectifier is None or self._rectifier_of != lens:
            self._rectifier = rectifier_for_image(info, width, height)
            self._rectifier_of = lens
        return View(self._rectifier(rgb), intrinsics, self._rectifier.unseen)


def lens_of(info: CameraInfo, width: int, height: int) -> tuple[object, ...]:
    """Give all that the rectification of images of a size depends on.

    Messages themselves cannot be compared: those of Humble take two matrices for equal where a
    single element is, as all zeros are.
    """
    roi = info.roi
    region = roi.x_offset, roi.y_offset, roi.width, roi.height
    sizes = width, height, info.width, info.height, *region
    return (*sizes, info.distortion_model, *info.d, *info.k, *info.r, *info.p)
