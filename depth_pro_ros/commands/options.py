"""What several commands have in common."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from depth_pro_ros.ros.parameters import specs

Number = TypeVar('Number', int, float)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command with a network has: parameters of the node."""
    for name in ('weights', 'device', 'precision', 'memory'):
        default, spec = specs()[name]
        told = f'{spec.description} (%(default)s)'
        parser.add_argument(f'--{name}', default=default, choices=spec.choices or None, help=told)


def add_focal_option(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Add the focal length, for commands that make depth; otherwise: what is believed without."""
    told = f'focal length in pixels ({otherwise})'
    parser.add_argument('--focal-px', type=positive(float), help=told)


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """Give what argparse reads a positive number of a kind with."""

    def read(text: str) -> Number:
        number = kind(text)
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f'{text} must be positive')
        return number

    read.__name__ = kind.__name__  # argparse says it of what is no number
    return read


def seed(text: str) -> int:
    """Read the seed of a random generator with argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f'{text} must not be negative')
    return number


def picture_size(option: str, text: str) -> tuple[int, int]:
    """Read an option such as 1280x720. Raises ValueError."""
    size = re.fullmatch(r'(\d+)x(\d+)', text)
    if size is None:
        raise ValueError(f"{option} '{text}' is not like 1280x720")
    return int(size[1]), int(size[2])


def report(failures: Sequence[str]) -> int:
    """Print what failed, a line each; gives the exit code."""
    for failure in failures:
        print(f'depth_pro: {failure}', file=sys.stderr)
    return 1 if failures else 0
