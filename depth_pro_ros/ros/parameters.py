"""The node's parameters, declared once.

Importing this module needs neither rclpy nor torch, so that the launch file can read it.
"""

from __future__ import annotations

import array
import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
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
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(each, float) and not math.isfinite(each) for each in numbers):
            return f'{name} {value} is not finite'
        if self.minimum is not None and not self.minimum <= value <= self.maximum:
            return f'{name} {value} is outside of {self.minimum:g} to {self.maximum:g}'
        return None


def _elements(name: str, values: Sequence[Any], kind: type) -> tuple[Any, ...]:
    if kind is float:
        values = [float(value) if type(value) is int else value for value in values]
    if any(type(value) is not kind for value in values):
        raise ParameterError(f'{name} must be a list of type {kind.__name__}')
    return tuple(values)


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
        'arithmetic; auto: fp16 on a GPU, bf16 where a CPU is faster in it, else fp32',
        choices=('auto', 'fp32', 'fp16', 'bf16'),
    )
    memory: str = _parameter(
        'auto',
        'low: computes the network in small pieces, for a GPU that is short of memory',
        choices=('auto', 'low'),
    )
    cameras: tuple[str, ...] = _parameter(
        ('',),
        'names of the cameras, each with topics below its name; one empty name: a single camera '
        'with topics of no name',
    )
    autostart: bool = _parameter(
        True, 'configure and activate without being asked; false under a lifecycle manager'
    )
    image_transport: str = _parameter(
        'raw', 'subscribe to image (raw) or image/compressed', choices=('raw', 'compressed')
    )
    intrinsics: str = _parameter(
        'auto',
        'where the focal length comes from: camera_info, the network (fov), focal_px (fixed), or '
        'camera_info where there is one and else the network (auto)',
        choices=('auto', 'camera_info', 'fov', 'fixed'),
    )
    focal_px: float = _parameter(
        0.0,
        'focal length in pixels of the input image for intrinsics: fixed',
        minimum=0.0,
        maximum=1e6,
    )
    focal_lock: bool = _parameter(
        True,
        'settle on one focal length for a camera once the network has estimated it often enough; '
        'false: each frame has its own, as a lens that zooms all the time needs',
    )
    lock_check_s: float = _parameter(
        10.0,
        'seconds between estimates that check a locked focal length, or a calibration, against '
        'the network; 0: never',
        minimum=0.0,
        maximum=86400.0,
        dynamic=True,
    )
    still_frames: int = _parameter(
        30,
        'where a camera with a known focal length sees the same as before, depth is of the average '
        'of about so many pictures, so that noise does not make it flicker; 1: of the newest alone',
        minimum=1,
        maximum=100,
        dynamic=True,
    )
    calibration_folder: str = _parameter(
        '~/.ros/camera_info', 'where save_calibration writes, and nowhere else'
    )
    scale_anchor: str = _parameter(
        'off',
        'what corrects the scale of depth: range (a rangefinder along the optical axis, topic '
        'range), scan (a laser scanner at scan_pose, topic scan), height (the camera is '
        'camera_height_m above a flat floor), or nothing (off)',
        choices=('off', 'range', 'scan', 'height'),
    )
    scan_pose: tuple[float, ...] = _parameter(
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        'x, y, z (metres), roll, pitch, yaw (radians) of the frame of scan in the optical frame of '
        'the images, as tf2_echo prints them, for scale_anchor: scan',
    )
    camera_height_m: float = _parameter(
        0.0,
        'height of the optical centre of every camera above the floor in metres, for scale_anchor: '
        'height',
        minimum=0.0,
        maximum=1000.0,
    )
    rectify: bool = _parameter(
        False,
        'remove the lens distortion that camera_info tells of; false: the image stays as it is, '
        "and its focal length is K's where its topic has image_raw in its name, else P's",
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
    edge_ratio: float = _parameter(
        0.0,
        'neighbouring pixels whose depths have at least this ratio become NaN: they tend to hang '
        'in the air between two surfaces; 0: none do; useful are 1.05 to 1.25',
        minimum=0.0,
        maximum=100.0,
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
        'most frames a second that are processed, of all cameras together; 0: no limit',
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    )
    max_age_s: float = _parameter(
        0.0,
        'a frame older than this when its turn comes is dropped, in seconds; 0: none is',
        minimum=0.0,
        maximum=3600.0,
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
            if isinstance(default, tuple) and isinstance(value, (list, array.array)):
                value = _elements(name, value, type(default[0]))
            if type(value) is not type(default):
                kind = 'list' if isinstance(default, tuple) else type(default).__name__
                raise ParameterError(f'{name} must be of type {kind}')
            if reason := fields[name].metadata['spec'].fault(name, value):
                raise ParameterError(reason)
            known[name] = value
        result = dataclasses.replace(self, **known)
        if reason := result.contradiction():
            raise ParameterError(reason)
        return result

    def unused(self) -> list[str]:
        """Give a sentence for each value that does nothing without another one."""
        needs = (
            ('focal_px', self.focal_px > 0.0, 'intrinsics', 'fixed'),
            ('camera_height_m', self.camera_height_m > 0.0, 'scale_anchor', 'height'),
            ('scan_pose', any(self.scan_pose), 'scale_anchor', 'scan'),
        )
        return [
            f'{name} does nothing without {other}: {value}'
            for name, given, other, value in needs
            if given and getattr(self, other) != value
        ]

    def contradiction(self) -> str | None:
        """Give the reason why these values cannot go together, or None."""
        if self.min_depth >= self.max_depth:
            return f'min_depth {self.min_depth:g} is not less than max_depth {self.max_depth:g}'
        if self.intrinsics == 'fixed' and self.focal_px <= 0.0:
            return 'intrinsics: fixed needs a positive focal_px'
        if self.rectify and self.intrinsics in ('fov', 'fixed'):
            return (
                f'rectify needs camera_info, which intrinsics: {self.intrinsics} does not look at'
            )
        if self.scale_anchor == 'height' and self.camera_height_m <= 0.0:
            return 'scale_anchor: height needs a positive camera_height_m'
        if self.scale_anchor == 'scan' and not (len(self.scan_pose) == 6 and any(self.scan_pose)):
            return 'scale_anchor: scan needs the six numbers of scan_pose'
        if self.scale_anchor == 'scan' and len(self.cameras) > 1:
            return 'scale_anchor: scan is for a single camera: scan_pose is of one'
        if 0.0 < self.edge_ratio <= 1.0:
            return f'edge_ratio {self.edge_ratio:g} is a ratio of far to near: more than 1, or 0'
        names = self.cameras
        if len(set(names)) != len(names) or not names or (len(names) > 1 and '' in names):
            return f'cameras {list(names)} are not one or more different names'
        if bad := [
            name for name in names if name and not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name)
        ]:
            return f"camera '{bad[0]}' is no name for topics: letters, digits and _ make one"
        return None


def specs() -> dict[str, tuple[Any, Spec]]:
    """Give default and Spec of every parameter by name, in order of declaration."""
    defaults = dataclasses.asdict(NodeParameters())
    return {
        field.name: (
            list(default) if isinstance(default := defaults[field.name], tuple) else default,
            field.metadata['spec'],
        )
        for field in dataclasses.fields(NodeParameters)
    }


def misspelt(given: Iterable[str]) -> list[str]:
    """Give a sentence for each name that is none of a parameter, but nearly."""
    names = specs().keys()
    return [
        f"there is no parameter '{name}': is {near[0]} meant?"
        for name in given
        if name not in names and (near := difflib.get_close_matches(name, names, 1, 0.8))
    ]


def declare(node: Node) -> NodeParameters:
    """Declare all parameters on `node` and give their values; raises ParameterError."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    values = {}
    for name, (default, spec) in specs().items():
        bounds = {'from_value': spec.minimum, 'to_value': spec.maximum}
        first = default[0] if isinstance(default, list) else default
        ranges: dict[str, Any] = {}
        if type(default) is float:
            ranges['floating_point_range'] = [FloatingPointRange(**bounds)]
        elif type(default) is int:
            ranges['integer_range'] = [IntegerRange(**bounds)]
        descriptor = ParameterDescriptor(
            description=spec.description,
            read_only=not spec.dynamic,
            dynamic_typing=isinstance(first, float),  # whole numbers are what people type
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
