"""Runs the node as a process, from its start to a signal or a failure."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from depth_pro_ros.ros.diagnostics import ERROR
from depth_pro_ros.ros.engine import let_go
from depth_pro_ros.ros.node import DepthProNode
from depth_pro_ros.ros.parameters import ParameterError


class RosLogHandler(logging.Handler):
    """Sends the log records of the core to the log of the node."""

    def __init__(self, node: DepthProNode) -> None:
        super().__init__()
        self._log = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record."""
        if record.levelno >= logging.ERROR:
            self._log.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._log.warning(record.getMessage())
        else:
            self._log.info(record.getMessage())


def spin_some(executor: SingleThreadedExecutor, node: DepthProNode) -> None:
    """Run what is due; a callback that fails is reported and does not end the node."""
    try:
        executor.spin_once(timeout_sec=0.2)
    except ExternalShutdownException:
        raise
    except Exception as error:
        if not rclpy.ok():
            raise  # a signal took the context away from under a call
        message = f'a callback failed: {type(error).__name__}: {error}'
        if node.health.problem('callback', message, ERROR):
            node.get_logger().error(message)


def run() -> int:
    """Run the node until Ctrl-C or SIGTERM (exit code 0) or a failure (1), and end the process."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # rclpy puts its own handlers before these
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        rclpy.init()
    except RuntimeError as error:  # arguments that ROS cannot parse
        print(f'depth_pro_node: {error}', file=sys.stderr)
        return 1
    if signals:  # before rclpy had its own
        rclpy.try_shutdown()
        return 0
    failure: Exception | None = None
    node: DepthProNode | None = None
    try:
        node = DepthProNode()
        core_log = logging.getLogger('depth_pro_ros')
        core_log.setLevel(logging.INFO)
        core_log.addHandler(RosLogHandler(node))
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok() and node.failure is None:
            spin_some(executor, node)
        failure = node.failure
    except (ParameterError, ParameterException) as error:
        failure = error if rclpy.ok() else None  # a signal makes publishers fail, too
        let_go(error)  # of a node that rclpy left half made, and its shared memory
        gc.collect()
    except ExternalShutdownException:
        pass
    except Exception:
        if rclpy.ok():  # otherwise a signal took the context away from under a call
            raise
    if failure is not None:
        print(f'depth_pro_node: {failure}', file=sys.stderr)
    if node is not None:
        node.destroy_node()  # or others see it, and keep what it shares with them, for 20 s
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # at once: an inference cannot be interrupted, and torch takes a second to be torn down
    os._exit(0 if failure is None else 1)
