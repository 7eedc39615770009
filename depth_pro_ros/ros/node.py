"""The ROS 2 node: image in; depth image, CameraInfo and point cloud out."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depth_pro_ros.camera import Intrinsics, depth_to_millimetres, limit_depth, unproject
from depth_pro_ros.images import colorize_depth, depth_range
from depth_pro_ros.ros import messages
from depth_pro_ros.ros.compat import PublisherEventCallbacks, SubscriptionEventCallbacks
from depth_pro_ros.ros.diagnostics import ERROR, Health
from depth_pro_ros.ros.parameters import ParameterError, declare
from depth_pro_ros.ros.worker import Worker

if TYPE_CHECKING:
    from depth_pro_ros.estimator import DepthEstimator

STOP_TIMEOUT_S = 1.0
"""How long an inference in progress may delay the end of the process."""


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
        if self.parameters.image_transport == 'raw':
            self._subscribe(Image, 'image', self._take_image)
        else:
            self._subscribe(CompressedImage, 'image/compressed', self._take_image)
        self._subscribe(CameraInfo, 'camera_info', self._take_info)
        self.create_timer(1.0, self._publish_diagnostics)
        self._worker.start()
        self.get_logger().info(f'loading weights: {self.parameters.weights}')

    def close(self) -> bool:
        """Stop the worker and the node; False where the worker is still in an inference."""
        stopped = self._worker.stop(STOP_TIMEOUT_S)
        if stopped:
            self.destroy_node()
        return stopped

    # Executor thread: nothing here waits for the network.

    def _publisher(self, kind: type, topic: str) -> Publisher:
        return self.create_publisher(
            kind,
            topic,
            QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self._qos_mismatch(topic, event)
            ),
        )

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        self.create_subscription(
            kind,
            topic,
            callback,
            qos_profile_sensor_data,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._qos_mismatch(topic, event)
            ),
        )

    def _qos_mismatch(self, topic: str, event: Any) -> None:
        message = (
            f'{topic}: a peer has an incompatible QoS ({event.last_policy_kind}), so no data pass '
            'between it and this node. Set qos_overrides for this topic, or change the peer'
        )
        self.health.problem(f'qos of {topic}', message, lasting=True)
        self.get_logger().warning(message)

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
        self._diagnostics.publish(self.health.message(self.get_clock().now()))

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
        info = self._known_info(frame, *rgb.shape[:2])
        intrinsics = messages.intrinsics_from_info(info) if info else None

        prediction = self._estimator.predict(rgb, intrinsics.fx if intrinsics else None)
        if intrinsics is None:
            height, width = rgb.shape[:2]
            intrinsics = Intrinsics.from_focal(prediction.focal_px, width, height)
        if info is None:
            info = messages.info_from_intrinsics(header, intrinsics)
        depth_m = limit_depth(prediction.depth_m, parameters.min_depth, parameters.max_depth)

        if 'info' in wanted:
            self._outputs['info'].publish(info)
        if 'depth' in wanted:
            self._outputs['depth'].publish(self._depth_message(header, depth_m))
        if 'points' in wanted:
            stride = parameters.cloud_stride
            points_m = unproject(depth_m, intrinsics, stride)
            cloud = messages.cloud_message(header, points_m, rgb[::stride, ::stride])
            self._outputs['points'].publish(cloud)
        if 'color' in wanted:
            colors = colorize_depth(depth_m, *depth_range(depth_m))
            self._outputs['color'].publish(messages.image_message(header, colors, 'rgb8'))
        self._account(frame, started, prediction.focal_px, prediction.focal_is_estimated)

    def _known_info(self, frame: Frame, height: int, width: int) -> CameraInfo | None:
        """Give the CameraInfo of a frame whose focal length is known, None to estimate it."""
        parameters, header = self.parameters, frame.image.header
        if parameters.intrinsics == 'fixed':
            fixed = Intrinsics.from_focal(parameters.focal_px, width, height)
            return messages.info_from_intrinsics(header, fixed)
        if parameters.intrinsics == 'fov':
            return None
        required = parameters.intrinsics == 'camera_info'
        if frame.info is None or not messages.is_calibrated(frame.info):
            if required:
                raise messages.MessageError(
                    'no calibration on camera_info, which intrinsics: camera_info needs; remap '
                    'camera_info, or set intrinsics to auto, fov or fixed'
                )
            return None
        try:
            info = messages.info_for_image(frame.info, header, width, height)
        except messages.MessageError as error:
            if required:
                raise
            self._warn('camera_info', f'{error}; the focal length is estimated instead')
            return None
        if any(info.d):
            self._warn(
                'distortion',
                'camera_info has lens distortion, but depth is estimated as of a pinhole camera: '
                'subscribe to a rectified image for true geometry',
            )
        return info

    def _depth_message(self, header: Any, depth_m: NDArray[np.float32]) -> Image:
        if self.parameters.depth_encoding == '16UC1':
            return messages.image_message(header, depth_to_millimetres(depth_m), '16UC1')
        return messages.image_message(header, depth_m, '32FC1')

    def _account(self, frame: Frame, started: float, focal_px: float, estimated: bool) -> None:
        """Tell the diagnostics of a frame that was answered."""
        stamp = Time.from_msg(frame.image.header.stamp, self.get_clock().clock_type)
        age_s = (self.get_clock().now() - stamp).nanoseconds * 1e-9
        self.health.frame_out(time.monotonic() - started, age_s)
        source = 'field-of-view head' if estimated else self.parameters.intrinsics
        self.health.fact('focal length (px)', f'{focal_px:.1f}')
        self.health.fact('focal length from', 'camera_info' if source == 'auto' else source)
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


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM (exit code 0) or a failure (1), and end the process."""
    rclpy.init(args=args)
    try:
        node = DepthProNode()
    except ParameterError as error:
        print(f'depth_pro_node: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    core_log = logging.getLogger('depth_pro_ros')
    core_log.setLevel(logging.INFO)
    core_log.addHandler(RosLogHandler(node))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok() and node.failure is None:
            executor.spin_once(timeout_sec=0.2)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    if node.failure is not None:
        print(f'depth_pro_node: {node.failure}', file=sys.stderr)
    code = 0 if node.failure is None else 1
    executor.shutdown(timeout_sec=0.1)
    node.close()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an inference cannot be interrupted, and torch takes a second to be torn down


if __name__ == '__main__':
    sys.exit(main())
