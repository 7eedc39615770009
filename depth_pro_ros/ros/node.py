"""The ROS 2 node: images in; depth images, CameraInfo and point clouds out."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from depth_pro_ros.ros.diagnostics import ERROR, Health
from depth_pro_ros.ros.distributions import answer_refused_transitions
from depth_pro_ros.ros.engine import Engine, NetworkDownError, let_go
from depth_pro_ros.ros.parameters import ParameterError, declare, misspelt
from depth_pro_ros.ros.services import Services
from depth_pro_ros.ros.stream import CameraStream, Frame
from depth_pro_ros.ros.worker import Deliver, Estimate, Mailbox, Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
Transition = Callable[['DepthProNode', LifecycleState], TransitionCallbackReturn]
TICK_S = 1.0
"""Between diagnostics."""
SIGNAL_S = 0.1
"""How soon a transition that waits notices a signal."""


def told(transition: Transition) -> Transition:
    """Tell what a transition raises, which rclpy swallows."""

    @functools.wraps(transition)
    def run(node: DepthProNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.tell(transition.__name__, error)
            raise

    return run


class DepthProNode(LifecycleNode):
    """A managed node: configured it has loaded the network, active it receives images.

    Callbacks run on the executor's thread and never wait for an inference, but for the transitions
    that load and give up the network; a worker thread, which lives while the node is configured,
    does all that touches it.
    """

    def __init__(self, **options: Any) -> None:
        """Raises ParameterError, and of parameters that every node has, rclpy's own."""
        super().__init__('depth_pro', **options)
        try:
            self._set_up()
        except BaseException:
            self.destroy_node()  # its shared memory would outlive the process
            raise

    def _set_up(self) -> None:
        answer_refused_transitions(self)
        self.parameters = declare(self)
        self.add_on_set_parameters_callback(self._set_parameters)
        self.failure: Exception | None = None
        """What ends the process."""
        name = self.get_fully_qualified_name().lstrip('/')
        named = self.parameters.cameras != ('',)
        self.health = Health(name, counts=not named)
        self.streams = {
            camera: CameraStream(self, camera, Health(name, camera) if named else self.health)
            for camera in self.parameters.cameras
        }
        self.engine = Engine(self.parameters, self.health)
        self.enabled, self.active = True, False
        self._mailbox: Mailbox[CameraStream, Frame] = Mailbox()
        self._worker: Worker[CameraStream, Frame] | None = None
        self._loaded = threading.Event()
        self._start_error: Exception | None = None
        self._control = Services(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a paused simulation has problems too
        self.create_timer(TICK_S, self._tick, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=lambda jump: self._time_went_back(-jump.delta.nanoseconds * 1e-9),
        )
        if self.parameters.autostart:
            self._starter = self.create_timer(0.0, self._start, clock=steady)

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop the worker, waiting `timeout_s` for an inference in progress, and the node."""
        self._unsubscribe('the node was stopped')
        if self._worker is not None:
            self._worker.stop()
        if self._worker is None or self._worker.ended(timeout_s):
            self.destroy_node()

    def destroy_node(self) -> None:
        """Destroy the node, with what rclpy leaves of it, on which its place in DDS hangs."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    # Lifecycle, on the executor's thread

    def _start(self) -> None:
        self._starter.cancel()
        if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self.failure = self._start_error

    @told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network; takes as long as that does."""
        for sentence in (*self.parameters.unused(), *misspelt(self._parameter_overrides)):
            self.get_logger().warning(sentence)
        self.get_logger().info(f'loading weights: {self.parameters.weights}')
        self._show('loading the network')
        self._loaded.clear()
        self._start_error = None
        self._mailbox = Mailbox()
        self._worker = Worker(
            self._mailbox,
            begin=self._load,
            prepare=self._prepare,
            finish=self.engine.free,
            on_error=self._report,
            on_failure=self._fail,
            period_s=self._period_s,
        )
        self._worker.start()
        if not self._wait(lambda: self._loaded.wait(SIGNAL_S)):
            return FAILURE
        if self._start_error is not None:
            self._show('unconfigured')
            if not self.parameters.autostart:
                self.get_logger().error(str(self._start_error))
            return FAILURE
        self._show('inactive')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras."""
        self.active = True
        try:
            self._receive(self.enabled)
        except Exception as error:  # rclpy would swallow it
            self.active = False
            self._unsubscribe('the node was stopped')
            self._start_error = RuntimeError(f'cannot subscribe: {error}')
            self.health.trouble = str(self._start_error)
            self.get_logger().error(self.health.trouble)
            return FAILURE
        if self._start_error is not None:  # it went well at last
            self._start_error = self.health.trouble = None
        topics = ', '.join(stream.topics.image for stream in self.streams.values())
        wait = f'waiting for images on {topics}' if self.enabled else 'disabled'
        self.get_logger().info(f'ready: {wait}')
        return SUCCESS

    @told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Receive and publish nothing any more; the network stays loaded."""
        self.active = False
        self._unsubscribe('the node was stopped')
        self._show('inactive')
        return SUCCESS

    @told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the network's memory and forget what was learned of the cameras."""
        self._release()
        self._show('unconfigured')
        return SUCCESS

    @told
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop in whatever state the node is."""
        self._release()
        self._show('finalized')
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition: back to unconfigured."""
        self._release()
        self._show('unconfigured')
        return SUCCESS

    def _release(self) -> None:
        self.active = False
        self._unsubscribe('the node was stopped')
        if (worker := self._worker) is not None:
            worker.stop()
            self._wait(lambda: worker.ended(SIGNAL_S))
            self._worker = None
        self.engine.forget()
        for stream in self.streams.values():
            stream.forget()

    def _wait(self, is_done: Callable[[], bool]) -> bool:
        """Wait for the worker, with diagnostics meanwhile; False where a signal comes first."""
        ticked_s = time.monotonic()
        while not is_done():
            if not self.context.ok():
                return False
            if time.monotonic() - ticked_s >= TICK_S:
                ticked_s = time.monotonic()
                self._tick()
        return True

    # Executor's thread: nothing here waits for the network

    def tell(self, transition: str, error: Exception) -> None:
        """Log the error of a transition; the process ends with it where the node starts itself."""
        if self.context.ok():  # otherwise a signal took it away from under a call
            self._start_error = error
            self.get_logger().error(f'{transition}: {type(error).__name__}: {error}')

    def _show(self, state: str) -> None:
        """Tell the diagnostics of the node and of each camera."""
        for health in (self.health, *(stream.health for stream in self.streams.values())):
            health.state = state

    def enable(self, enabled: bool) -> None:
        """Receive images, or none, now or once the node is active."""
        if self.active and enabled != self.enabled:
            self._receive(enabled)
        self.enabled = enabled

    def _receive(self, enabled: bool) -> None:
        if enabled:
            self.subscribe()
            self._show('running')
        else:
            self._unsubscribe('the node was disabled')
            self._show('disabled')

    def subscribe(self) -> None:
        """Receive the images of every camera."""
        for stream in self.streams.values():
            stream.subscribe(self.parameters, self._put)

    def _unsubscribe(self, reason: str) -> None:
        for stream in self.streams.values():
            stream.unsubscribe()
        self._drop_waiting(reason)
        self._control.give_up(reason)

    def _drop_waiting(self, reason: str) -> None:
        for stream, frame in self._mailbox.clear().items():
            stream.health.frame_lost()
            self._control.frame_done(stream.name, frame, reason)

    def unsubscribe_if_disabled(self) -> None:
        """End what `estimate_once` began."""
        if self.active and not self.enabled:
            self._unsubscribe('the node is disabled')

    def _put(self, stream: CameraStream, frame: Frame) -> None:
        if self._control.takes(stream.name, frame) or self.enabled:
            stream.health.frame_in(replaced=self._mailbox.put(stream, frame))
        elif self._mailbox.replace(stream, frame):  # one that was asked for, and waits
            stream.health.frame_in(replaced=True)

    def _time_went_back(self, seconds: float) -> None:
        for stream in self.streams.values():
            stream.outdate()
        self._drop_waiting('time went back')
        message = f'time went back by {seconds:.2f} s; frames that waited are dropped'
        if self.health.problem('clock', message):
            self.get_logger().warning(message)

    def _set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        own = {c.name: c.value for c in changes if hasattr(self.parameters, c.name)}
        try:
            self.parameters = self.parameters.updated(own)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _tick(self) -> None:
        self._control.tick()
        statuses = []
        for stream in self.streams.values():
            stream.hand_over()
            if self.active and self.enabled:
                stream.watch()
            for topic, reason in stream.topics.qos_faults():
                advice = 'set qos_overrides of this node, or change the peer'
                text = f'{topic}: no data pass between {reason}; {advice}'
                stream.warn(f'qos of {topic}', text)
            if stream.health is not self.health:
                statuses += stream.health.statuses()
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(
            DiagnosticArray(header=header, status=self.health.statuses() + statuses)
        )

    # The worker's threads

    def _load(self) -> None:
        self.engine.load()
        self.health.trouble = None
        self._loaded.set()

    def _fail(self, error: Exception) -> None:
        let_go(error)
        if self._loaded.is_set():
            self.failure = error
        self._start_error = error
        self._loaded.set()
        self.health.trouble = str(error)

    def _prepare(self, stream: CameraStream, frame: Frame) -> Estimate:
        estimate = stream.prepare(frame, self.engine, self.parameters)

        def run(on_wait: Callable[[], None]) -> Deliver:
            publish = estimate(on_wait)
            return lambda: self._control.frame_done(stream.name, frame, publish())

        return run

    def _report(self, stream: CameraStream, frame: Frame, error: Exception) -> None:
        if not self.context.ok():
            return
        message = str(error) or type(error).__name__
        self._control.frame_done(stream.name, frame, message)
        stream.health.frame_lost()
        if isinstance(error, NetworkDownError):
            return  # the engine reports it, once for all cameras
        cause = 'input' if isinstance(error, ValueError) else type(error).__name__
        if stream.health.problem(cause, message, ERROR):
            self.get_logger().error(f'frame dropped: {message}')

    def _period_s(self) -> float:
        rate = self.parameters.max_rate_hz
        return 1.0 / rate if rate > 0.0 and not self._control.is_asked else 0.0
