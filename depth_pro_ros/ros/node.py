"""The ROS 2 node: image in; depth image, CameraInfo and point cloud out."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depth_pro_ros.camera import (
    Intrinsics,
    depth_to_millimetres,
    fov_from_focal,
    limit_depth,
    unproject,
)
from depth_pro_ros.images import colorize_depth, depth_range
from depth_pro_ros.ros import messages
from depth_pro_ros.ros.calibration import Calibration
from depth_pro_ros.ros.diagnostics import ERROR, Health
from depth_pro_ros.ros.parameters import ParameterError, declare
from depth_pro_ros.ros.worker import Worker

if TYPE_CHECKING:
    from depth_pro_ros.estimator import DepthEstimator

BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
VOLATILE, TRANSIENT_LOCAL = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL


class Frame(NamedTuple):
    """An image and the CameraInfo that was the newest when it came."""

    image: Image | CompressedImage
    info: CameraInfo | None


class DepthProNode(Node):
    """Subscribes to a camera and publishes metric depth; the worker thread does all the work."""

    def __init__(self, **options: Any) -> None:
        super().__init__('depth_pro', **options)
        self.parameters = declare(self)
        self.add_on_set_parameters_callback(self._set_parameters)
        self.failure: Exception | None = None
        self.health = Health(self.get_fully_qualified_name().lstrip('/'))
        self._info: CameraInfo | None = None
        self._calibration = Calibration(self._warn)
        self._outputs = {
            'depth': self._publisher(Image, '~/depth/image'),
            'info': self._publisher(CameraInfo, '~/depth/camera_info'),
            'points': self._publisher(PointCloud2, '~/points'),
            'color': self._publisher(Image, '~/depth/image_color'),
        }
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._worker = Worker[Frame](
            prepare=self._load,
            process=self._process,
            on_error=self._report,
            on_failure=self._fail,
            period_s=self._period_s,
        )
        compressed = self.parameters.image_transport == 'compressed'
        self._inputs = [
            self._subscription(CompressedImage, 'image/compressed', self._take_image)
            if compressed
            else self._subscription(Image, 'image', self._take_image),
            self._subscription(CameraInfo, 'camera_info', self._take_info),
        ]
        clock = Clock(clock_type=ClockType.STEADY_TIME)  # a paused simulation has problems too
        self.create_timer(1.0, self._publish_diagnostics, clock=clock)
        self._worker.start()
        self.get_logger().info(f'loading weights: {self.parameters.weights}')

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop the worker, waiting `timeout_s` for an inference in progress, and the node."""
        if self._worker.stop(timeout_s):
            self.destroy_node()

    # Executor thread: nothing here waits for the network.

    def _publisher(self, kind: type, topic: str) -> Publisher:
        return self.create_publisher(
            kind,
            topic,
            QoSProfile(depth=2, reliability=RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _subscription(self, kind: type, topic: str, callback: Callable[[Any], None]) -> Any:
        return self.create_subscription(
            kind,
            topic,
            callback,
            qos_profile_sensor_data,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _take_image(self, msg: Image | CompressedImage) -> None:
        self.health.frame_in(replaced=self._worker.put(Frame(msg, self._info)))

    def _take_info(self, msg: CameraInfo) -> None:
        self._info = msg

    def _set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        own = {c.name: c.value for c in changes if hasattr(self.parameters, c.name)}
        try:
            self.parameters = self.parameters.updated(own)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        for output in self._outputs.values():
            for peer in self.get_subscriptions_info_by_topic(output.topic_name):
                self._check_qos(output.topic_name, output.qos_profile, peer.qos_profile)
        for source in self._inputs:
            for peer in self.get_publishers_info_by_topic(source.topic_name):
                self._check_qos(source.topic_name, peer.qos_profile, source.qos_profile)
        self._diagnostics.publish(self.health.message(self.get_clock().now()))

    def _check_qos(self, topic: str, offered: QoSProfile, requested: QoSProfile) -> None:
        """Warn of a pair of peers between which no data pass."""
        fault = ''
        if (offered.reliability, requested.reliability) == (BEST_EFFORT, RELIABLE):
            fault = 'a best-effort publisher and a reliable subscriber'
        elif (offered.durability, requested.durability) == (VOLATILE, TRANSIENT_LOCAL):
            fault = 'a volatile publisher and a transient-local subscriber'
        if fault:
            self._warn(
                f'qos of {topic}',
                f'{topic}: no data pass between {fault}; set qos_overrides of this node, or change '
                'the peer',
            )

    # Worker thread: everything that touches torch.

    def _load(self) -> None:
        from depth_pro_ros.estimator import DepthEstimator  # imports torch, which takes seconds

        parameters = self.parameters
        self._estimator: DepthEstimator = DepthEstimator.from_pretrained(
            parameters.weights, parameters.device, parameters.precision
        )
        self._estimator.predict(np.zeros((480, 640, 3), np.uint8))  # the first is slow
        self.health.fact('device', self._estimator.device_name)
        self.health.fact('precision', self._estimator.precision)
        self.health.fact('weights', parameters.weights)
        self.health.state = 'running'
        self.get_logger().info('ready: waiting for images')

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.health.problem('network', str(error), ERROR)

    def _report(self, error: Exception) -> None:
        if not self.context.ok():
            return
        cause = 'input' if isinstance(error, ValueError) else type(error).__name__
        message = str(error) or type(error).__name__
        if self.health.problem(cause, message, ERROR):
            self.get_logger().error(f'frame dropped: {message}')

    def _warn(self, cause: str, message: str) -> None:
        if self.health.problem(cause, message):
            self.get_logger().warning(message)

    def _period_s(self) -> float:
        rate = self.parameters.max_rate_hz
        return 1.0 / rate if rate > 0.0 else 0.0

    def _process(self, frame: Frame) -> None:
        """Convert, predict, publish; what nobody subscribes to is not computed."""
        wanted = {name for name, output in self._outputs.items() if output.get_subscription_count()}
        if not wanted:
            return
        started = time.monotonic()
        header, parameters = frame.image.header, self.parameters
        if not header.frame_id:
            self._warn('header', 'the image has an empty frame_id: no consumer can place its depth')
        if isinstance(frame.image, CompressedImage):
            rgb = messages.rgb_from_compressed(frame.image)
        else:
            rgb = messages.rgb_from_image(frame.image)
        view = self._calibration.view(rgb, frame.info, parameters)
        if any(frame.info.d if frame.info else ()) and not parameters.rectify:
            self.get_logger().warning(
                'camera_info has lens distortion: the image is taken as rectified already; if it '
                'is raw, set rectify: true',
                once=True,
            )
        height, width = rgb.shape[:2]
        intrinsics, estimated = view.intrinsics, view.intrinsics is None
        if estimated or wanted != {'info'}:
            prediction = self._estimator.predict(view.rgb, intrinsics.fx if intrinsics else None)
        if intrinsics is None:
            intrinsics = Intrinsics.from_focal(prediction.focal_px, width, height)
        if 'info' in wanted:
            info = messages.info_from_intrinsics(header, intrinsics)
            self._outputs['info'].publish(info)
        if wanted != {'info'}:
            depth_m = limit_depth(prediction.depth_m, parameters.min_depth, parameters.max_depth)
            if view.unseen is not None:
                depth_m[view.unseen] = np.nan
            self._publish_depth(header, depth_m, view.rgb, intrinsics, wanted)
        self._account(header, started, intrinsics, estimated)

    def _publish_depth(
        self,
        header: Any,
        depth_m: NDArray[np.float32],
        rgb: NDArray[np.uint8],
        intrinsics: Intrinsics,
        wanted: set[str],
    ) -> None:
        """Publish those outputs of a depth map that somebody subscribes to."""
        if 'depth' in wanted:
            self._outputs['depth'].publish(self._depth_message(header, depth_m))
        if 'points' in wanted:
            stride = self.parameters.cloud_stride
            points_m = unproject(depth_m, intrinsics, stride)
            cloud = messages.cloud_message(header, points_m, rgb[::stride, ::stride])
            self._outputs['points'].publish(cloud)
        if 'color' in wanted:
            colors = colorize_depth(depth_m, *depth_range(depth_m))
            self._outputs['color'].publish(messages.image_message(header, colors, 'rgb8'))

    def _depth_message(self, header: Any, depth_m: NDArray[np.float32]) -> Image:
        if self.parameters.depth_encoding == '16UC1':
            return messages.image_message(header, depth_to_millimetres(depth_m), '16UC1')
        return messages.image_message(header, depth_m, '32FC1')

    def _account(
        self, header: Any, started: float, intrinsics: Intrinsics, estimated: bool
    ) -> None:
        """Tell the diagnostics of a frame that was answered."""
        stamp_ns = header.stamp.sec * 10**9 + header.stamp.nanosec
        age_s = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9
        self.health.frame_out(time.monotonic() - started, age_s)
        source = (
            self.parameters.intrinsics if self.parameters.intrinsics != 'auto' else 'camera_info'
        )
        focal_px, fov_deg = intrinsics.fx, fov_from_focal(intrinsics.fx, intrinsics.width)
        self.health.fact('focal length (px)', f'{focal_px:.1f}')
        self.health.fact('field of view (deg)', f'{fov_deg:.1f}')
        self.health.fact('focal length from', 'field-of-view head' if estimated else source)
        self.health.fact('memory peak (MiB)', f'{self._estimator.peak_memory_bytes() / 2**20:.0f}')
        limit_s = self.parameters.warn_age_s
        if 0.0 < limit_s < age_s:
            self._warn('age', f'depth is {age_s:.2f} s old when published (limit {limit_s:g} s)')


class RosLogHandler(logging.Handler):
    """Sends the log records of the core to the log of the node."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._log = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record."""
        if record.levelno >= logging.WARNING:
            self._log.warning(record.getMessage())
        else:
            self._log.info(record.getMessage())


def run() -> int:
    """Run the node until Ctrl-C or SIGTERM (exit code 0) or a failure (1), and end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # rclpy puts its own handlers before these
    rclpy.init()
    failure: Exception | None = None
    try:
        node = DepthProNode()
        core_log = logging.getLogger('depth_pro_ros')
        core_log.setLevel(logging.INFO)
        core_log.addHandler(RosLogHandler(node))
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok() and node.failure is None:
            executor.spin_once(timeout_sec=0.2)
        failure = node.failure
    except ParameterError as error:
        failure = error
    except ExternalShutdownException:
        pass
    except Exception:
        if rclpy.ok():  # otherwise a signal took the context away from under a call
            raise
    if failure is not None:
        print(f'depth_pro_node: {failure}', file=sys.stderr)
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # at once: an inference cannot be interrupted, and torch takes a second to be torn down
    os._exit(0 if failure is None else 1)
