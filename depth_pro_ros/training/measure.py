"""How good a network is on rendered frames it never saw, beside answers that look at nothing."""

from collections.abc import Callable

import numpy as np
import torch

from depth_pro_ros.camera import focal_from_fov
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.training.frames import (
    Batch,
    Frames,
    canonical_inverse_depth,
    collate,
    resize_known,
)

MEASURE_PX = 128
NEAR_M, FAR_M = 0.3, 20.0

Predict = Callable[[Batch], tuple[np.ndarray, np.ndarray]]
"""Batch of one -> canonical inverse depth (S, S) at MEASURE_PX, and field of view in degrees."""


def by_network(network: DepthPro) -> Predict:
    """Answer with a network."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def predict(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        answer = network(batch.network_input().to(device))
        assert answer.fov_deg is not None
        size = (MEASURE_PX, MEASURE_PX)
        c = torch.nn.functional.interpolate(answer.inverse_depth, size, mode='area')  # as targets
        return c[0, 0].cpu().numpy(), answer.fov_deg.cpu().numpy()

    return predict


def by_constants(frames: Frames) -> dict[str, Predict]:
    """Answer with the mean depth, or the mean map, of (training) frames; fov likewise."""
    some = list(frames.some(500))
    if not some:
        raise ValueError('none of the frames can be read')
    size = (MEASURE_PX, MEASURE_PX)
    c = np.stack([resize_known(canonical_inverse_depth(frame), size) for frame in some])
    focal = np.array([focal_from_fov(frame.fov_deg, 1) for frame in some])
    known = np.isfinite(c).any(axis=0)
    depth_m = np.full(size, np.nan)
    depth_m[known] = np.nanmedian(focal[:, None] / c[:, known], axis=0)
    depth_m[~known] = np.median(depth_m[known])
    fov_deg = np.array([np.mean([frame.fov_deg for frame in some])])

    def answer(depth_m: np.ndarray) -> Predict:
        return lambda batch: (focal_from_fov(batch.fov_deg.item(), 1) / depth_m, fov_deg)

    flat = np.full_like(depth_m, np.median(depth_m))
    return {'constant depth': answer(flat), 'mean map': answer(depth_m)}


def measure(predict: Predict, frames: Frames, config: DepthProConfig) -> dict[str, float]:
    """AbsRel and delta1 with the true focal length and after median scaling; fov error, degrees.

    config: of the network that predicts, whose input frames are stretched to. Gives nothing where
    no frame knows a depth of NEAR_M to FAR_M. Raises ValueError where none can be read.
    """
    rows, count = [], 0
    for frame in frames.some():
        count += 1
        batch = collate([frame], config, MEASURE_PX)
        c, fov_deg = predict(batch)
        target = batch.inverse_depth[0, 0].numpy()
        focal = focal_from_fov(frame.fov_deg, 1)
        depth_m = focal / target
        seen = (depth_m > NEAR_M) & (depth_m < FAR_M)
        if not seen.any():
            continue
        predicted_m = np.clip(focal / np.maximum(c[seen], 1e-6), NEAR_M, FAR_M)  # as is usual
        ratio = predicted_m / depth_m[seen]
        scaled = ratio / np.median(ratio)
        rows.append(
            (
                np.abs(ratio - 1).mean(),
                (np.maximum(ratio, 1 / ratio) < 1.25).mean(),
                np.abs(scaled - 1).mean(),
                (np.maximum(scaled, 1 / scaled) < 1.25).mean(),
                abs(fov_deg[0] - frame.fov_deg),
            )
        )
    if not count:
        raise ValueError('none of the held-out frames can be read')
    if not rows:
        return {}
    names = ('abs_rel', 'delta1', 'abs_rel_scaled', 'delta1_scaled', 'fov_error_deg')
    return {name: round(float(v), 4) for name, v in zip(names, np.mean(rows, axis=0), strict=True)}
