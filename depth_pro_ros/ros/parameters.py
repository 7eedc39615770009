"""The node's parameters, declared once.

Importing this module needs neither rclpy nor torch, so that the launch file can read it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node


class ParameterError(ValueError):
    """A parameter value that cannot be used; the message gives the reason."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is known of a parameter beside its default."""

    description: str
    choices: tuple[str, ...] = ()
    minimum: Any = None
    maximum: Any = None
    dynamic: bool = False

    def fault(self, name: str, value: Any) -> str | None:
        """Give the reason why `value` is refused, or None."""
        if self.choices and value not in self.choices:
            return f"{name} '{value}' is not one of: {', '.join(self.choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f'{name} {value} is not finite'
        if self.minimum is not None and not self.minimum <= value <= self.maximum:
            return f'{name} {value} is outside of {self.minimum:g} to {self.maximum:g}'
        return None


def _parameter(default: Any, description: str, **details: Any) -> Any:
    return dataclasses.field(default=default, metadata={'spec': Spec(description, **details)})


@dataclasses.dataclass(frozen=True)
class NodeParameters:
    """All parameters of `depth_pro_node` with their defaults."""

    weights: str = _parameter(
        'small', 'small (ships with the package), depth_pro (official, downloaded) or a file'
    )
    device: str = _parameter('auto', 'auto, cpu, cuda or cuda:N')
    precision: str = _parameter(
        'auto',
        'arithmetic; auto: fp16 on a GPU, bf16 on a CPU with units for it, else fp32',
        choices=('auto', 'fp32', 'fp16', 'bf16'),
    )
    image_transport: str = _parameter(
        'raw', 'subscribe to image (raw) or image/compressed', choices=('raw', 'compressed')
    )
    intrinsics: str = _parameter(
        'auto',
        'where the focal length comes from: camera_info, the field-of-view head (fov), focal_px '
        '(fixed), or camera_info where there is one and else fov (auto)',
        choices=('auto', 'camera_info', 'fov', 'fixed'),
    )
    focal_px: float = _parameter(
        0.0,
        'focal length in pixels of the input image for intrinsics: fixed',
        minimum=0.0,
        maximum=1e6,
    )
    rectify: bool = _parameter(
        False,
        'remove the lens distortion that camera_info tells of; false: the image is rectified '
        'already, or has none',
    )
    depth_encoding: str = _parameter(
        '32FC1',
        'depth image: 32FC1 (metres) or 16UC1 (millimetres)',
        choices=('32FC1', '16UC1'),
    )
    min_depth: float = _parameter(
        0.1,
        'nearer depth becomes -Inf (16UC1: 0), in metres',
        minimum=0.0,
        maximum=10000.0,
        dynamic=True,
    )
    max_depth: float = _parameter(
        100.0,
        'farther depth becomes +Inf (16UC1: 0), in metres',
        minimum=0.0,
        maximum=10000.0,
        dynamic=True,
    )
    cloud_stride: int = _parameter(
        2,
        'every how many pixels, across and down, the cloud has a point',
        minimum=1,
        maximum=64,
        dynamic=True,
    )
    max_rate_hz: float = _parameter(
        0.0,
        'most frames a second that are processed; 0: no limit',
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    )
    warn_age_s: float = _parameter(
        1.0,
        'diagnostics warn when a result is older than this since its image stamp, in seconds; '
        '0: never',
        minimum=0.0,
        maximum=3600.0,
        dynamic=True,
    )

    def updated(self, values: Mapping[str, Any]) -> NodeParameters:
        """Give a copy with `values`; raises ParameterError with the reason for a bad one."""
        fields = {field.name: field for field in dataclasses.fields(self)}
        known: dict[str, Any] = {}
        for name, value in values.items():
            default = fields[name].default
            if isinstance(default, float) and type(value) is int:
                value = float(value)  # `max_depth:=20` is what people type
            if type(value) is not type(default):
                raise ParameterError(f'{name} must be of type {type(default).__name__}')
            if reason := fields[name].metadata['spec'].fault(name, value):
                raise ParameterError(reason)
            known[name] = value
        result = dataclasses.replace(self, **known)
        if result.min_depth >= result.max_depth:
            raise ParameterError(
                f'min_depth {result.min_depth:g} is not less than max_depth {result.max_depth:g}'
            )
        if result.intrinsics == 'fixed' and result.focal_px <= 0.0:
            raise ParameterError('intrinsics: fixed needs a positive focal_px')
        return result


def specs() -> dict[str, tuple[Any, Spec]]:
    """Give default and Spec of every parameter by name, in order of declaration."""
    return {
        field.name: (field.default, field.metadata['spec'])
        for field in dataclasses.fields(NodeParameters)
    }


def declare(node: Node) -> NodeParameters:
    """Declare all parameters on `node` and give their values; raises ParameterError."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    values = {}
    for name, (default, spec) in specs().items():
        bounds = {'from_value': spec.minimum, 'to_value': spec.maximum}
        ranges: dict[str, Any] = {}
        if type(default) is float:
            ranges['floating_point_range'] = [FloatingPointRange(**bounds)]
        elif type(default) is int:
            ranges['integer_range'] = [IntegerRange(**bounds)]
        descriptor = ParameterDescriptor(
            description=spec.description,
            read_only=not spec.dynamic,
            dynamic_typing=isinstance(default, float),
            additional_constraints=constraints(spec),
            **ranges,
        )
        try:
            values[name] = node.declare_parameter(name, default, descriptor).value
        except Exception as error:  # rclpy's own classes differ between distributions
            raise ParameterError(f'{name}: {error}') from error
    return NodeParameters().updated(values)


def constraints(spec: Spec) -> str:
    """Give the range or the choices of a parameter as people read them."""
    if spec.choices:
        return 'one of ' + ', '.join(spec.choices)
    return '' if spec.minimum is None else f'{spec.minimum:g} to {spec.maximum:g}'
