"""Which pinhole camera an image of a bag is of."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.bags.options import BagError, BagOptions
from depth_pro_ros.bags.reading import Bag, parsed, picture
from depth_pro_ros.bags.survey import Survey
from depth_pro_ros.camera import Intrinsics, focal_from_fov
from depth_pro_ros.camera_info import (
    RAW,
    camera_for_image,
    is_distorted,
    is_raw,
    rectifier_for_image,
)
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.offline.clip import samples
from depth_pro_ros.rectify import Rectifier


class View(NamedTuple):
    """An image as of a pinhole camera."""

    rgb: NDArray[np.uint8]
    intrinsics: Intrinsics
    unseen: NDArray[np.bool_] | None
    """(H, W), True where rectification left pixels without a value; None: nowhere."""


class Camera:
    """The camera of a bag: a given focal length, its CameraInfo, or one estimate for the bag."""

    def __init__(
        self,
        source: str,
        infos: Sequence[Any] = (),
        focal_px: float = 0.0,
        fov_deg: float = 0.0,
        topic: str = '',
    ) -> None:
        """Take one of: CameraInfo messages, a focal length, a horizontal field of view.

        source: where that comes from, for people. topic: of the images.
        """
        self.source = source
        self._infos, self._focal_px, self._fov_deg, self._topic = infos, focal_px, fov_deg, topic
        self._rectifiers: dict[tuple[int, int, int], Rectifier] = {}

    def view(self, rgb: NDArray[np.uint8], stamp: Any, rectify: bool) -> View:
        """Give the view of an image (H, W, 3). Raises MessageError where CameraInfo cannot fit."""
        height, width = rgb.shape[:2]
        if not self._infos:
            focal_px = self._focal_px or focal_from_fov(self._fov_deg, width)
            return View(rgb, Intrinsics.from_focal(focal_px, width, height), None)
        index = self._newest(stamp)
        info = self._infos[index]
        intrinsics = camera_for_image(info, width, height, self._topic, rectify)
        if not (rectify and is_raw(info)):
            return View(rgb, intrinsics, None)
        key = (index, width, height)
        if key not in self._rectifiers:
            self._rectifiers[key] = rectifier_for_image(info, width, height)
        return View(self._rectifiers[key](rgb), intrinsics, self._rectifiers[key].unseen)

    def _newest(self, stamp: Any) -> int:
        """Give the index of the newest CameraInfo that is not newer than a stamp, or 0."""
        now = (stamp.sec, stamp.nanosec)
        stamps = [(info.header.stamp.sec, info.header.stamp.nanosec) for info in self._infos]
        return max((i for i, then in enumerate(stamps) if then <= now), default=0)


def find_camera(bag: Bag, found: Survey, options: BagOptions, estimator: DepthEstimator) -> Camera:
    """Give the camera of a bag, asking the network where nothing else tells. Raises BagError."""
    if options.focal_px:
        return Camera('given', focal_px=options.focal_px)
    if found.infos:
        topic, hint = found.images[0].topic, ''
        if any(map(is_distorted, found.infos)) and not options.rectify:
            hint = ', taken as rectified: else use --rectify'
            if RAW in topic:
                hint = ', with lens distortion: right in the middle alone, better with --rectify'
        return Camera(f'CameraInfo{hint}', infos=found.infos, topic=topic)
    if options.rectify:
        raise BagError(
            f'{bag.path} has no calibrated CameraInfo beside {found.images[0].topic}, which '
            '--rectify needs: name its topic with --camera-info, or leave --rectify out'
        )
    estimates = []
    fault: Exception | None = None
    for index in samples(len(found.times_ns)):
        time_ns = found.times_ns[index]
        for message in bag.messages(found.images, time_ns, time_ns + 1):
            try:
                estimates.append(estimator.predict(picture(parsed(message))).fov_deg)
            except (ValueError, ArithmeticError) as error:
                fault = error  # reported when its turn comes
    if not estimates:
        raise BagError(
            f'{bag.path}: none of the images on {found.images[0].topic} can be used; the last: '
            f'{fault}'
        )
    return Camera('field-of-view head', fov_deg=statistics.median(estimates))
