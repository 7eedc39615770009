"""Pictures with depth -> augmented training batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_pro_ros.camera import focal_from_fov, fov_from_focal
from depth_pro_ros.training.rooms import Frame

FAR_M = 1e4


class Batch(NamedTuple):
    """Network input (B, 3, S, S) in [-1, 1], canonical inverse depth (B, 1, T, T), fov (B,)."""

    image: Tensor
    inverse_depth: Tensor
    fov_deg: Tensor


class Frames:
    """Frames that are read when first asked for, and stay in memory then."""

    def __init__(self, readers: Sequence[Callable[[], Frame]]) -> None:
        self.readers = readers
        self._kept: dict[int, Frame] = {}

    def __len__(self) -> int:
        return len(self.readers)

    def __getitem__(self, index: int) -> Frame:
        if index not in self._kept:
            self._kept[index] = self.readers[index]()
        return self._kept[index]

    def hold_out(self, share: float = 0.1) -> tuple[Frames, Frames]:
        """Give all but the last part, and that part: neighbours in a recording look alike."""
        first = len(self) - max(1, round(share * len(self)))
        return Frames(self.readers[:first]), Frames(self.readers[first:])


def augment(frame: Frame, rng: np.random.Generator) -> Frame:
    """Crop (which narrows the field of view), flip and recolour a frame."""
    if rng.random() < 0.6:
        frame = crop(frame, rng.uniform(0.6, 1.0), rng.uniform(0.9, 1.1), rng.uniform(-1, 1, 2))
    rgb, depth_m = frame.rgb, frame.depth_m
    if rng.random() < 0.5:
        rgb, depth_m = rgb[:, ::-1], depth_m[:, ::-1]
    return Frame(recolour(rgb, rng), depth_m, frame.fov_deg)


def crop(frame: Frame, ratio: float, stretch: float, shift: np.ndarray) -> Frame:
    """Keep `ratio` of the width and ratio * stretch of the height, `shift` in [-1, 1] off centre.

    The focal length in pixels stays, the width shrinks: f_px / W grows by 1 / ratio, and the
    canonical inverse depth, computed from it later, with it. At most a third of the margin is
    used for the shift, which keeps the principal point near the centre.
    """
    old_height, old_width = frame.depth_m.shape
    width, height = round(old_width * ratio), round(old_height * min(ratio * stretch, 1.0))
    x = round((old_width - width) * (0.5 + shift[0] / 6))
    y = round((old_height - height) * (0.5 + shift[1] / 6))
    fov_deg = fov_from_focal(focal_from_fov(frame.fov_deg, old_width), width)
    box = np.s_[y : y + height, x : x + width]
    return Frame(frame.rgb[box], frame.depth_m[box], fov_deg)


def recolour(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue balance, by a table and one mix."""
    level = np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.4) * rng.uniform(0.75, 1.25)
    table = 255 * level[:, None] * rng.uniform(0.92, 1.08, 3)
    picture = cv2.LUT(rgb, table.clip(0, 255).astype(np.uint8)[None])
    keep = rng.choice([0.0, rng.uniform(0.4, 1.5)], p=[0.05, 0.95])
    return cv2.transform(picture, keep * np.eye(3) + (1 - keep) / 3)


def canonical_inverse_depth(frame: Frame) -> np.ndarray:
    """C = f_px / (W D), (H, W) float32."""
    focal = np.float32(focal_from_fov(frame.fov_deg, 1))
    return focal / frame.depth_m.astype(np.float32).clip(1e-2, FAR_M)


def collate(frames: list[Frame], input_px: int, target_px: int) -> Batch:
    """Stretch frames to the network's input, and their C to `target_px`."""
    images, targets = [], []
    for frame in frames:
        c = canonical_inverse_depth(frame)
        shrinks = target_px < c.shape[0]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
        targets.append(cv2.resize(c, (target_px, target_px), interpolation=how))
        images.append(cv2.resize(frame.rgb, (input_px, input_px), interpolation=cv2.INTER_LINEAR))
    image = np.stack(images).transpose(0, 3, 1, 2)  # (B, S, S, 3) -> (B, 3, S, S)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(image)).float().div_(127.5).sub_(1),
        torch.from_numpy(np.stack(targets)).unsqueeze(1),
        torch.tensor([frame.fov_deg for frame in frames]),
    )
