"""What is believed of a camera's focal length: a calibration, a lock, or a frame's estimate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from depth_pro_ros.camera import Intrinsics, fov_from_focal
from depth_pro_ros.focal import FocalFilter
from depth_pro_ros.ros.calibration import View
from depth_pro_ros.ros.diagnostics import Health
from depth_pro_ros.ros.parameters import NodeParameters

DISAGREEMENT = 0.15
"""Relative difference between a calibration and the network that is reported."""
CHECKS = 5
"""Most estimates in `lock_check_s` while a calibration is believed and the network not settled."""
CALIBRATED, PER_FRAME = 'camera_info', 'field-of-view head'
"""Where a focal length is known from."""


class Known(NamedTuple):
    """What the worker knows of a lens, for the services to read."""

    relocks: int
    """How often it was asked to learn anew until then."""
    camera: Intrinsics | None = None
    """The pinhole camera of a locked focal length."""
    source: str = ''
    """Where the focal length in use is known from."""
    state: str = 'no image was looked at yet; they are while somebody subscribes to an output'


class Lens:
    """Learns on the worker's thread; any may call `relock` and `believed`, and read `known`."""

    def __init__(self, health: Health, warn: Callable[[str, str], None]) -> None:
        """Take the diagnostics, and a function that reports a problem by cause and message."""
        self._health, self._warn = health, warn
        self.filter = FocalFilter()
        self._asked = self._renewed = 0
        self._known = Known(self._renewed)

    def relock(self) -> None:
        """Learn focal length and scale anew, from the next frame on."""
        self._asked += 1

    @property
    def known(self) -> Known:
        """What is known since the last `relock`."""
        known, asked = self._known, self._asked
        return known if known.relocks == asked else Known(asked)

    def renew(self) -> bool:
        """Forget what was learned where `relock` asked for it; tell whether it did."""
        if self._renewed == (asked := self._asked):
            return False
        self._renewed = asked
        self.filter.relock()
        return True

    def use_camera(self, frame_id: str, width: int, height: int) -> None:
        """Say which camera the next frame is of; another one is learned anew."""
        if self.filter.use_camera((frame_id, width, height)):
            self._known = Known(self._renewed)
            self._warn(
                'camera',
                f"the images are of another camera or size now ('{frame_id:.80}', "
                f'{width}x{height}): the focal length is learned anew',
            )

    def believed(self, view: View, parameters: NodeParameters) -> tuple[Intrinsics | None, str]:
        """Give the camera and where it is known from; None: from this very frame."""
        if view.intrinsics is not None:
            return view.intrinsics, 'fixed' if parameters.intrinsics == 'fixed' else CALIBRATED
        lock = self.filter.lock
        if parameters.focal_lock and lock is not None:
            height, width = view.rgb.shape[:2]
            return Intrinsics.from_focal(lock.focal_px, width, height), 'lock'
        return None, PER_FRAME

    def wants_estimate(self, view: View, parameters: NodeParameters) -> bool:
        """Tell whether the network should say the focal length of a frame where it is known."""
        if parameters.intrinsics == 'fixed':
            return False
        now_s, every_s = time.monotonic(), parameters.lock_check_s
        if view.intrinsics is None:
            return self.filter.is_due(now_s, every_s)
        return every_s > 0.0 and self.filter.is_due(now_s, every_s, every_s / CHECKS)

    def learn(self, focal_px: float) -> None:
        """Take in the network's focal length of a frame, unless a relock was asked meanwhile."""
        if self._renewed == self._asked:
            self.filter.observe(focal_px, time.monotonic())

    def tell(self, camera: Intrinsics, source: str) -> None:
        """Tell the diagnostics and the services of the camera that is believed."""
        self._health.fact('focal length (px)', f'{camera.fx:.1f}')
        self._health.fact('field of view (deg)', f'{fov_from_focal(camera.fx, camera.width):.1f}')
        self._health.fact('focal length from', source)
        self._health.fact("network's focal length", str(self.filter))
        lock = self.filter.lock
        learned = (
            Intrinsics.from_focal(lock.focal_px, camera.width, camera.height) if lock else None
        )
        self._known = Known(self._renewed, learned, source, str(self.filter))
        if source == CALIBRATED and lock is not None:
            off = lock.focal_px / camera.fx - 1.0
            if abs(math.log(1.0 + off)) > math.log(1.0 + DISAGREEMENT):
                self._warn(
                    'calibration',
                    f'camera_info says a focal length of {camera.fx:.1f} px, the network '
                    f'{lock.focal_px:.1f} px ({off:+.0%}): camera_info is believed; check it',
                )
