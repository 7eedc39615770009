"""One camera of the node: its newest frame in, its depth out, and what is known of its lens."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from depth_pro_ros.camera import Intrinsics, limit_depth
from depth_pro_ros.camera_info import RAW, RECTIFIED, is_distorted
from depth_pro_ros.ros import messages
from depth_pro_ros.ros.anchors import KEPT, Measurement, Measurements, compare, nearest
from depth_pro_ros.ros.answers import publish_depth
from depth_pro_ros.ros.calibration import Calibration, View
from depth_pro_ros.ros.diagnostics import Health, clocks_apart
from depth_pro_ros.ros.engine import Engine
from depth_pro_ros.ros.lens import PER_FRAME, Lens
from depth_pro_ros.ros.parameters import NodeParameters
from depth_pro_ros.ros.topics import CameraTopics
from depth_pro_ros.scale import ScaleAnchor, ScaleError, height_above_floor
from depth_pro_ros.still import StillAverage

SILENCE_S = 10.0
"""How long a camera may send nothing before that is reported."""
LOST_SHARE = 0.1
"""Of the images, that the middleware may lose before that is reported."""
EARLY_S = 1.0
"""How long images wait for the first CameraInfo, where somebody publishes it; a single one waits
for the next tick, too."""
INFO_COUNTS = ('auto', 'camera_info')
"""Values of `intrinsics` with which CameraInfo is looked at."""
OUTDATED = 'the node was stopped, or time went back'
UNWANTED = 'nobody subscribes to an output'
WITHOUT_DEPTH = {'info', 'picture'}
"""Outputs that need no depth where the focal length is known."""

Publish = Callable[[], str | None]
"""What publishes an answer, and gives the reason where there is none though nothing failed."""


class Frame(NamedTuple):
    """An image, the newest CameraInfo when it came, and what was measured nearest to its stamp."""

    image: Image | CompressedImage
    info: CameraInfo | None
    measured: Measurement | None
    received_s: float
    """time.monotonic()"""
    generation: int
    """Of the stream when it came; outdated once the stream has another."""


class OutdatedError(RuntimeError):
    """The node was stopped, or time went back, since a frame came: it must not be published."""


class CameraStream:
    """Callbacks fill it on the executor's thread; the threads of the worker do the rest."""

    def __init__(self, node: Node, name: str, health: Health) -> None:
        self.name, self.health = name, health
        self.topics = CameraTopics(node, name)
        self._log, self._clock = node.get_logger(), node.get_clock()
        self._generation = 0
        self._heard_s = time.monotonic()
        self.forget()

    def forget(self) -> None:
        """Start anew with nothing known of the camera; not while the worker runs."""
        self._info: CameraInfo | None = None
        self._measured: deque[Measurement] = deque(maxlen=KEPT)
        self._early: Image | CompressedImage | None = None
        """The newest image, while it waits for the first CameraInfo."""
        self._early_until_s = math.inf
        self.lens = Lens(self.health, self.warn)
        self._anchor = ScaleAnchor()
        self._still = StillAverage()
        self._clouds = messages.Clouds()
        self._calibration = Calibration(self.warn)
        self._measurements = Measurements(self.warn)

    # Executor thread

    def subscribe(
        self, parameters: NodeParameters, put: Callable[[CameraStream, Frame], None]
    ) -> None:
        """Begin to hand each image over to `put`."""

        def on_image(image: Image | CompressedImage) -> None:
            self.health.image_came()
            self._heard_s, self._early = time.monotonic(), image
            self._early_until_s = min(self._early_until_s, self._heard_s + EARLY_S)
            self.hand_over()

        def on_lost(count: int) -> None:
            share, topic = self.health.images_missed(count), self.topics.image
            if share > LOST_SHARE:
                self.warn(
                    'transport',
                    f'{share:.0%} of the images on {topic} are lost on the way: `depth_pro doctor` '
                    'tells which profile Fast DDS needs for large ones; of a camera that publishes '
                    'reliable the node can ask for them again, if it is started with '
                    f'qos_overrides.{topic}.subscription.reliability: reliable',
                )

        def on_info(info: CameraInfo) -> None:
            self._info = info
            self.hand_over()

        def on_measured(measured: Measurement) -> None:
            self._measured.append(measured)

        self._put = put
        self._info = self._early = None
        self._measured.clear()
        self._since_s = self._heard_s = time.monotonic()
        self._early_until_s = math.inf
        self._looks_at_info = parameters.intrinsics in INFO_COUNTS
        self.topics.subscribe(
            parameters.image_transport == 'compressed',
            on_image,
            on_lost,
            on_info,
            parameters.scale_anchor,
            on_measured,
        )

    def hand_over(self) -> None:
        """Put the newest image, unless it is still to wait for the first CameraInfo."""
        image, now_s = self._early, time.monotonic()
        if image is None:
            return
        waits = self._looks_at_info and self._info is None and now_s < self._early_until_s
        if not (waits and self.topics.has_info()):
            self._early = None
            measured = nearest(self._measured, image)
            self._put(self, Frame(image, self._info, measured, now_s, self._generation))

    def unsubscribe(self) -> None:
        """Receive nothing any more, and publish nothing of what was received."""
        self.topics.unsubscribe()
        self.outdate()

    def outdate(self) -> None:
        """Publish nothing any more of the frames that came until now."""
        self._generation += 1
        self._early = None
        self._measured.clear()

    def watch(self) -> None:
        """Report a camera that sends nothing, or no CameraInfo though it is announced."""
        now_s = time.monotonic()
        silent_s = now_s - self._heard_s
        if silent_s > SILENCE_S:
            self.warn(
                'silence',
                f'no image on {self.topics.image} for {silent_s:.0f} s: is the camera running, and '
                'is that its topic?',
            )
        elif (
            self._looks_at_info
            and self._info is None
            and now_s - self._since_s > SILENCE_S
            and self.topics.has_info()
        ):
            override = f'qos_overrides.{self.topics.info}.subscription'
            self.warn(
                'camera_info',
                f'nothing came on {self.topics.info}, though it has a publisher: one that sends it '
                f'once is heard with {override}.reliability: reliable and {override}.durability: '
                'transient_local',
            )

    def warn(self, cause: str, message: str) -> None:
        """Report a problem in the diagnostics, and in the log when it is new."""
        if self.health.problem(cause, message):
            self._log.warning(f'{self.name}: {message}' if self.name else message)

    # Preparer's thread

    def prepare(
        self, frame: Frame, engine: Engine, parameters: NodeParameters
    ) -> Callable[[Callable[[], None]], Publish]:
        """Convert a frame, and give what estimates its depth on the worker's thread.

        That takes a function to call once it only waits for the device, and gives what publishes
        the answer. What nobody subscribes to is not computed.
        """
        wanted = self.topics.wanted()
        if not wanted:
            return lambda on_wait: lambda: UNWANTED
        if dropped := self._dropped(frame, parameters):
            return lambda on_wait: lambda: dropped
        started_s = time.monotonic()
        if not frame.image.header.frame_id:
            self.warn('header', 'the image has an empty frame_id: no consumer can place its depth')
        view = self._calibration.view(
            messages.rgb_from_message(frame.image), frame.info, parameters, self.topics.image
        )
        if frame.info and view.intrinsics and parameters.intrinsics in INFO_COUNTS:
            self._compare_frames(frame.image.header.frame_id, frame.info.header.frame_id)
        rectified = parameters.rectify or RECTIFIED in self.topics.image
        if frame.info is not None and is_distorted(frame.info) and not rectified:
            taken = 'the image is taken as rectified already; if it is raw, set rectify: true'
            if RAW in self.topics.image:
                taken = 'depth is right in the middle of the image alone; set rectify: true'
            self.warn(
                'distortion',
                f'camera_info has lens distortion: {taken}, with intrinsics: auto or camera_info',
            )
        steady = self._steady(view, frame, parameters, wanted)

        def estimate(on_wait: Callable[[], None]) -> Publish:
            if dropped := self._dropped(frame, parameters):
                return lambda: dropped
            depth_m, camera = self._estimate(
                view, steady, frame, engine, parameters, wanted, on_wait
            )
            return lambda: self._publish(
                frame, wanted, depth_m, view.rgb, camera, parameters, started_s
            )

        return estimate

    def _dropped(self, frame: Frame, parameters: NodeParameters) -> str | None:
        """Drop a frame that is outdated or waited too long; gives the reason, or None."""
        age_s = self._age_s(frame.image.header)
        if frame.generation != self._generation:
            reason = OUTDATED
        elif 0.0 < parameters.max_age_s < age_s:
            reason = f'a frame of {age_s:.2f} s is dropped (max_age_s {parameters.max_age_s:g})'
            reason += clocks_apart(age_s)
            self.warn('stale', reason)
        else:
            return None
        self.health.frame_lost()
        return reason

    def _compare_frames(self, image: str, info: str) -> None:
        """Report a CameraInfo that is of another frame than the image."""
        if image and info and image.lstrip('/') != info.lstrip('/'):  # tf strips it, too
            self.warn(
                'camera_info',
                f"camera_info is of the frame '{info}', the image of '{image}': is it of the "
                'same camera?',
            )

    def _steady(
        self, view: View, frame: Frame, parameters: NodeParameters, wanted: set[str]
    ) -> NDArray[np.uint8]:
        """Give what the network is to see of a view: where it may, an average of the last ones."""
        known = self.lens.believed(view, parameters)[0]  # learning takes independent looks
        if parameters.still_frames <= 1 or known is None or wanted <= WITHOUT_DEPTH:
            return view.rgb
        scene = (frame.image.header.frame_id, frame.generation)
        return self._still.add(view.rgb, parameters.still_frames, scene, time.monotonic())

    # Worker's thread

    def _estimate(
        self,
        view: View,
        steady: NDArray[np.uint8],
        frame: Frame,
        engine: Engine,
        parameters: NodeParameters,
        wanted: set[str],
        on_wait: Callable[[], None],
    ) -> tuple[NDArray[np.float32] | None, Intrinsics]:
        """Give depth (None: it is not wanted) and the camera that it is of."""
        height, width = view.rgb.shape[:2]
        if self.lens.renew():
            self._anchor = ScaleAnchor()
        key = (frame.image.header.frame_id, width, height)
        self.lens.use_camera(*key)
        camera, source = self.lens.believed(view, parameters)
        if camera is not None and wanted <= WITHOUT_DEPTH:
            self.lens.tell(camera, source)
            return None, camera
        prediction = engine.predict(
            steady if camera else view.rgb,
            camera.fx if camera else None,
            estimate_focal=self.lens.wants_estimate(view, parameters),
            edge_ratio=parameters.edge_ratio,
            on_wait=on_wait,
        )
        if prediction.estimated_focal_px is not None:
            self.lens.learn(prediction.estimated_focal_px)
        camera = camera or Intrinsics.from_focal(prediction.focal_px, width, height)
        self.lens.tell(camera, source)
        depth_m = prediction.depth_m
        if view.unseen is not None:
            depth_m[view.unseen] = np.nan
        if parameters.scale_anchor != 'off':
            known_px = None if source == PER_FRAME else camera.fx
            self._anchor.use_camera(key, known_px, calibrated=view.intrinsics is not None)
            if parameters.scale_anchor == 'height' and view.intrinsics is None:
                self.warn(
                    'scale focal length',
                    'scale_anchor: height cannot correct a focal length that the network estimates'
                    ': give a calibration on camera_info, or intrinsics: fixed',
                )
            depth_m = depth_m * np.float32(self._scale(depth_m, camera, frame, parameters))
        return depth_m, camera

    def _scale(
        self,
        depth_m: NDArray[np.float32],
        camera: Intrinsics,
        frame: Frame,
        parameters: NodeParameters,
    ) -> float:
        """Compare depth with the known distance, and give the factor so far."""
        try:
            if parameters.scale_anchor == 'height':
                self._anchor.observe(
                    parameters.camera_height_m, height_above_floor(depth_m, camera)
                )
            elif measured := self._measurements.take(frame.measured, frame.image):
                self._anchor.observe(*compare(measured, depth_m, camera, parameters.scan_pose))
        except ScaleError as error:
            self.warn('scale', str(error))
        self.health.fact('scale factor', f'{self._anchor.factor:.3f}')
        self.health.fact('scale residual', f'{self._anchor.residual:.3f}')
        return self._anchor.factor

    # Publisher's thread

    def _publish(
        self,
        frame: Frame,
        wanted: set[str],
        depth_m: NDArray[np.float32] | None,
        rgb: NDArray[np.uint8],
        camera: Intrinsics,
        parameters: NodeParameters,
        started_s: float,
    ) -> str | None:
        """Publish; gives the reason where that is not done."""
        header = frame.image.header

        def publish(output: str, message: Any) -> None:
            if frame.generation != self._generation:
                raise OutdatedError(OUTDATED)
            self.topics.outputs[output].publish(message)

        try:
            if 'info' in wanted:
                publish('info', messages.info_from_intrinsics(header, camera))
            if 'picture' in wanted:
                publish('picture', messages.image_message(header, rgb, 'rgb8'))
            if depth_m is not None:
                limit_depth(depth_m, parameters.min_depth, parameters.max_depth)
                publish_depth(
                    publish, wanted, header, depth_m, rgb, camera, parameters, self._clouds
                )
        except OutdatedError as error:
            self.health.frame_lost()
            return str(error)
        self._account(header, started_s, parameters)
        return None

    def _account(self, header: Header, started_s: float, parameters: NodeParameters) -> None:
        """Tell the diagnostics of a frame that was answered."""
        age_s, limit_s = self._age_s(header), parameters.warn_age_s
        self.health.frame_out(time.monotonic() - started_s, age_s)
        if 0.0 < limit_s < age_s:
            told = f'depth is {age_s:.2f} s old when published (limit {limit_s:g} s)'
            self.warn('age', told + clocks_apart(age_s))

    def _age_s(self, header: Header) -> float:
        return self._clock.now().nanoseconds * 1e-9 - messages.stamp_s(header)
