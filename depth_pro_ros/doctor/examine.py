"""All checks, from Python up to the ROS graph."""

from __future__ import annotations

from collections.abc import Callable

from depth_pro_ros.doctor.check import Check, pip_install, would_run
from depth_pro_ros.doctor.middleware import check_ros, check_shared_memory
from depth_pro_ros.doctor.system import (
    check_libraries,
    check_processor,
    check_python,
    check_torch,
)


def examine(
    weights: str, device: str, precision: str, memory: str, width: int, height: int
) -> list[Check]:
    """Check everything that the node needs with these parameters and images of this size."""
    checks = [
        check_python(),
        attempt('Libraries', check_libraries),
        attempt('PyTorch', check_torch, device),
        attempt('Processor', check_processor, device),
    ]
    if would_run(checks):  # importing the network takes all of them
        from depth_pro_ros.doctor.model import check_memory, check_weights

        checks += [
            attempt('Weights', check_weights, weights),
            attempt('Memory', check_memory, weights, device, precision, memory),
        ]
    ros, rmw = check_ros()
    checks.append(ros)
    if rmw is not None:
        from depth_pro_ros.ros.graph import check_graph

        checks.append(attempt('Large messages', check_shared_memory, rmw, width, height))
        try:
            checks += check_graph()
        except Exception as error:  # as in check_ros
            checks.append(Check('ROS graph', 'fail', f'no node can be made: {error}'))
    return checks


def attempt(name: str, check: Callable[..., Check], *arguments: object) -> Check:
    """Run a check that may stumble over the very fault it looks for."""
    try:
        return check(*arguments)
    except ImportError as error:
        return Check(name, 'fail', f'{error}', pip_install(error.name or 'what is missing'))
    except Exception as error:
        return Check(name, 'fail', f'could not be checked ({type(error).__name__}: {error})')
