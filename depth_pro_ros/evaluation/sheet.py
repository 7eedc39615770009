"""A picture of the best and the worst frames: image, prediction, truth and error."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation.frame import Truth
from depth_pro_ros.evaluation.score import FrameScore, matched
from depth_pro_ros.images import colorize_depth, depth_range

KEPT = 4
"""Frames at either end."""
CELL_WIDTH, LABEL_HEIGHT = 320, 22
MAX_CELL_HEIGHT = 240
HEADINGS = ('image', 'predicted, own focal length', 'truth', 'error: blue near, red far (x 2)')


class ContactSheet:
    """Keeps the frames with the smallest and the largest AbsRel, as small pictures."""

    def __init__(self) -> None:
        self._strips: list[tuple[float, str, NDArray[np.uint8]]] = []  # best first

    def add(self, score: FrameScore, truth: Truth, depth_m: NDArray[np.float32]) -> None:
        """Take in a frame, unless it is neither among the best nor among the worst so far."""
        error = score.own.abs_rel
        if len(self._strips) == 2 * KEPT:
            if self._strips[KEPT - 1][0] <= error <= self._strips[KEPT][0]:
                return
            del self._strips[KEPT if error > self._strips[KEPT][0] else KEPT - 1]
        label = f'{score.source} {score.name}: AbsRel {error:.2f}'
        self._strips.append((error, label, draw_strip(truth, depth_m)))
        self._strips.sort(key=lambda strip: strip[0])

    def draw(self) -> NDArray[np.uint8]:
        """Draw a line for each frame, best first: (H, 4 x 320, 3) RGB."""
        lines = [np.hstack([draw_label(heading, CELL_WIDTH) for heading in HEADINGS])]
        for _, label, strip in self._strips:
            lines += [draw_label(label, 4 * CELL_WIDTH), strip]
        return np.vstack(lines)


def draw_strip(truth: Truth, depth_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw image, prediction, truth and error beside each other, depths in the same colours."""
    height, width = truth.rgb.shape[:2]
    cell = CELL_WIDTH, min(round(CELL_WIDTH * height / width), MAX_CELL_HEIGHT)
    predicted_m = matched(depth_m, cell[::-1])
    true_m = shrink_known(truth.depth_m, cell)
    near_m, far_m = depth_range(true_m)
    cells = [
        cv2.resize(truth.rgb, cell, interpolation=cv2.INTER_AREA),
        colorize_depth(predicted_m, near_m, far_m),
        colorize_depth(true_m, near_m, far_m),
        colorize_error(predicted_m, true_m),
    ]
    return np.hstack(cells).astype(np.uint8)


def shrink_known(depth_m: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Shrink depth to (width, height), with dots wide enough to be seen where it is sparse."""
    known = np.isfinite(depth_m)
    if known.mean() < 0.5:
        reach = max(3, 2 * (depth_m.shape[1] // size[0]) + 1)
        nearest = cv2.erode(np.where(known, depth_m, np.inf), np.ones((reach, reach), np.uint8))
        depth_m = np.where(np.isfinite(nearest), nearest, np.nan)
    small = cv2.resize(depth_m, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(small, np.float32)


def colorize_error(
    predicted_m: NDArray[np.float32], true_m: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Colour the factor between two depths: blue is half, white is right, red is double."""
    share = np.clip(np.log2(predicted_m / true_m), -1.0, 1.0)[..., None]
    white, red, blue = (np.array(c, np.float32) for c in ((255,) * 3, (200, 0, 0), (0, 60, 220)))
    rgb = np.where(share > 0, white + share * (red - white), white - share * (blue - white))
    return np.where(np.isnan(share), 0.0, rgb).astype(np.uint8)


def draw_label(text: str, width: int) -> NDArray[np.uint8]:
    """Write a line of text on white: (LABEL_HEIGHT, width, 3)."""
    label = np.full((LABEL_HEIGHT, width, 3), 255, np.uint8)
    cv2.putText(label, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return label
