"""The figures of one frame: with the network's focal length, with the true one, and scaled."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation import metrics
from depth_pro_ros.evaluation.frame import Frame, NoDepthError, Truth
from depth_pro_ros.evaluation.metrics import DepthErrors

SAMPLE = 4096
"""Most true depths that are kept of a frame, to find out what a constant would score."""


@dataclasses.dataclass(frozen=True)
class FrameScore:
    """What was found for one frame."""

    name: str
    source: str
    focal_px: float
    """The network's estimate."""
    true_focal_px: float | None
    own: DepthErrors
    """With the network's focal length: how metric depth is when nothing is known."""
    given: DepthErrors | None
    """With the true focal length; what is better than `own` is the focal length's fault."""
    scaled: DepthErrors
    """With the best scale; what is better than `given` is the scale's fault, the rest is shape."""
    boundary_f1: float
    boundary_recall: float
    """NaN where the truth does not tell, likewise F1; both do not depend on scale."""
    true_sample_m: NDArray[np.float32]
    limits_m: tuple[float, float]


def score(frame: Frame, truth: Truth, depth_m: NDArray[np.float32], focal_px: float) -> FrameScore:
    """Compare the network's depth (H, W), made with its own `focal_px`, with the truth.

    Raises NoDepthError where no true depth is within the frame's limits.
    """
    depth_m = matched(depth_m, truth.depth_m.shape)
    limits_m = frame.min_depth_m, frame.max_depth_m
    known = (truth.depth_m >= limits_m[0]) & (truth.depth_m <= limits_m[1])
    if not known.any():
        raise NoDepthError(f'no true depth between {limits_m[0]} and {limits_m[1]} m')
    predicted, true = depth_m[known], truth.depth_m[known]
    sample = np.linspace(0, len(true) - 1, min(SAMPLE, len(true))).astype(int)

    def errors(factor: float) -> DepthErrors:
        return metrics.depth_errors(np.clip(predicted * factor, *limits_m), true)

    true_focal = truth.focal_px
    return FrameScore(
        name=frame.name,
        source=frame.source,
        focal_px=focal_px,
        true_focal_px=true_focal,
        own=errors(1.0),
        given=errors(true_focal / focal_px) if true_focal else None,
        scaled=errors(metrics.median_scale(predicted, true)),
        boundary_f1=metrics.boundary_f1(depth_m, truth.depth_m),
        boundary_recall=(
            metrics.boundary_recall(depth_m, truth.mask) if truth.mask is not None else float('nan')
        ),
        true_sample_m=true[sample],  # a copy: a slice would keep all of `true` in memory
        limits_m=limits_m,
    )


def matched(depth_m: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Give predicted depth the truth's size, bilinearly in inverse depth, and a number for sky."""
    if depth_m.shape == shape:
        return np.minimum(depth_m, np.float32(metrics.FAR_M))
    inverse = cv2.resize(1.0 / depth_m, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(1.0 / np.maximum(inverse, 1.0 / metrics.FAR_M), np.float32)
