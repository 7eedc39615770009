"""The services of the node: what a robot's own program asks of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from depth_pro_ros.calibration_file import save_calibration
from depth_pro_ros.ros.lens import CALIBRATED
from depth_pro_ros.ros.stream import UNWANTED

if TYPE_CHECKING:
    from depth_pro_ros.ros.node import DepthProNode
    from depth_pro_ros.ros.stream import CameraStream, Frame

TriggerCallback = Callable[[Trigger.Request, Trigger.Response], Trigger.Response]
ONCE_TIMEOUT_S = 30.0
"""How long `estimate_once` waits for every camera to send an image; however long the network takes
then, an answer comes."""
UNNAMED = 'camera'
"""What the calibration of a camera without a name is called."""


class Once:
    """A request for one frame of each camera, and what became of it."""

    def __init__(self, cameras: set[str]) -> None:
        self.asked_s = time.monotonic()
        self.waiting = cameras
        """Those of which no answer is there."""
        self.unseen = set(cameras)
        """Those of which no frame came."""
        self.reasons: list[str] = []
        self.wanted = False
        """Whether somebody subscribes to any of them; that not all are wanted is no fault."""
        self.future: Any = Future()  # a generic class from Kilted on


class Services:
    """`~/enable` and `~/estimate_once`; `~/relock` and `~/save_calibration` of each camera."""

    def __init__(self, node: DepthProNode) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._once: Once | None = None
        node.create_service(SetBool, '~/enable', self._enable)
        # a group of its own: its callback waits, and the images that it waits for must pass
        group = MutuallyExclusiveCallbackGroup()
        node.create_service(Trigger, '~/estimate_once', self._estimate_once, callback_group=group)
        for stream in node.streams.values():
            prefix = f'~/{stream.name}/' if stream.name else '~/'
            node.create_service(Trigger, prefix + 'relock', self._relocker(stream))
            node.create_service(Trigger, prefix + 'save_calibration', self._saver(stream))

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._node.enable(request.data)
        response.success = True
        response.message = 'images are processed' if request.data else 'images are ignored'
        if not self._node.active:
            response.message += ' once the node is active'
        return response

    def _relocker(self, stream: CameraStream) -> TriggerCallback:
        def relock(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            stream.lens.relock()
            response.success, response.message = True, 'the focal length is learned anew'
            return response

        return relock

    def _saver(self, stream: CameraStream) -> TriggerCallback:
        def save(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            known = stream.lens.known
            if known.source == CALIBRATED:
                response.message = 'camera_info has the calibration of this camera: not saved'
                return response
            if known.camera is None:
                response.message = f'no focal length is locked yet: {known.state}'
                return response
            folder = Path(self._node.parameters.calibration_folder)
            try:
                path = save_calibration(folder, stream.name or UNNAMED, known.camera)
            except ValueError as error:
                response.message = str(error)
                return response
            response.success, response.message = True, f'written to {path}'
            return response

        return save

    async def _estimate_once(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        if not self._node.active:
            response.message = 'the node is not active'
            return response
        once = Once(set(self._node.streams))
        with self._lock:
            self._once = once
        if not self._node.enabled:
            self._node.subscribe()
        await once.future
        self._node.unsubscribe_if_disabled()
        if not (once.reasons or once.wanted):
            once.reasons.append(UNWANTED)
        response.success = not once.reasons
        response.message = '; '.join(once.reasons) or 'depth was published'
        return response

    @property
    def is_asked(self) -> bool:
        """Whether a frame that was asked for has come, and waits."""
        with self._lock:
            return self._once is not None and bool(self._once.waiting - self._once.unseen)

    def takes(self, camera: str, frame: Frame) -> bool:
        """Executor's thread: tell whether a camera's frame is one that is asked for."""
        with self._lock:
            once = self._once
            if once is None or camera not in once.unseen or frame.received_s < once.asked_s:
                return False
            once.unseen.discard(camera)
            return True

    def frame_done(self, camera: str, frame: Frame, reason: str | None) -> None:
        """Any thread: a frame was answered, or was not for a reason."""
        with self._lock:
            once = self._once
            if once is None or camera not in once.waiting or frame.received_s < once.asked_s:
                return
            once.waiting.discard(camera)
            once.wanted |= reason != UNWANTED
            if reason and reason != UNWANTED:
                once.reasons.append(f'{camera}: {reason}' if camera else reason)
            if not once.waiting:
                self._finish(once)

    def give_up(self, reason: str) -> None:
        """Answer whoever waits for a frame that none will come."""
        with self._lock:
            if (once := self._once) is not None:
                once.reasons.append(reason)
                self._finish(once)

    def tick(self) -> None:
        """Give up on frames that do not come."""
        once = self._once
        if once and once.unseen and time.monotonic() - once.asked_s > ONCE_TIMEOUT_S:
            missing = ', '.join(sorted(once.unseen)).strip(', ') or 'the camera'
            self.give_up(f'no image of {missing} within {ONCE_TIMEOUT_S:.0f} s')

    def _finish(self, once: Once) -> None:
        self._once = None
        once.future.set_result(True)
        if self._node.executor is not None:
            self._node.executor.wake()  # it does not look at the future by itself
