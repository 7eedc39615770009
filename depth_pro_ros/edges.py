"""Flying pixels: depth between two surfaces, where there is nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def flying_pixels(depth_m: Tensor, ratio: float) -> Tensor:
    """Tell which pixels lie at a depth edge: (H, W) metres -> (H, W) bool, on the same device.

    Both pixels of a horizontal or vertical pair are marked where one is at least `ratio` times as
    far as the other, the contour test of the paper's boundary metric (section 3.3). Of a pair with
    +Inf (too far), the nearer is marked; NaN marks nothing.
    """
    marked = torch.zeros_like(depth_m, dtype=torch.bool)
    for axis in (0, 1):
        size = depth_m.shape[axis] - 1
        first, second = depth_m.narrow(axis, 0, size), depth_m.narrow(axis, 1, size)
        edge = (first >= ratio * second) | (second >= ratio * first)
        marked.narrow(axis, 0, size).logical_or_(edge)
        marked.narrow(axis, 1, size).logical_or_(edge)
    return marked & torch.isfinite(depth_m)
