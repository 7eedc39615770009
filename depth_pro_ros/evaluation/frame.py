"""One picture with its true depth, and how a data set is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class DataError(RuntimeError):
    """Data that are not there, or not as their publisher lays them out."""


class NoDepthError(DataError):
    """A picture without true depth within the limits: nothing to measure, and nobody's fault."""


def told(error: Exception) -> str:
    """Give what is wrong with a frame: the message, or all of an error that is not for people."""
    for_people = isinstance(error, RuntimeError | ValueError | OSError | ArithmeticError)
    return str(error) if for_people else repr(error)


@dataclasses.dataclass(frozen=True)
class Truth:
    """A picture and what is known of its depth."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    depth_m: NDArray[np.float32]
    """(h, w) metres along the optical axis, NaN where unknown; may be of another size."""
    focal_px: float | None
    """Horizontal focal length in pixels of `rgb`; None where nobody knows."""
    mask: NDArray[np.float32] | None = None
    """(h, w) in 0..1: the foreground of a picture, where it was cut out by hand."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture of a data set, read when it is its turn."""

    name: str
    source: str
    """Figures are averaged over the frames of one source, then over sources."""
    read: Callable[[], Truth]
    """Raises DataError, ImageError or OSError with a message for the user."""
    min_depth_m: float = 1e-3
    """True depth outside of these is not measured, and predictions are clipped to them."""
    max_depth_m: float = 80.0
