"""Rendered frames on disk -> augmented training batches."""

import json
from pathlib import Path
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
    """The frames of a folder that `rooms` wrote; each stays in memory once read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = [
            each['name'] for each in json.loads((folder / 'frames.json').read_text())['frames']
        ]
        self._kept: dict[int, Frame] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Frame:
        if index not in self._kept:
            path = self.folder / self.names[index]
            rgb = np.ascontiguousarray(np.asarray(cv2.imread(f'{path}.jpg'))[..., ::-1])
            with np.load(f'{path}.npz') as stored:
                self._kept[index] = Frame(rgb, stored['depth_m'], float(stored['fov_deg']))
        return self._kept[index]


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
    size = frame.depth_m.shape[0]
    width, height = round(size * ratio), round(size * min(ratio * stretch, 1.0))
    x = round((size - width) * (0.5 + shift[0] / 6))
    y = round((size - height) * (0.5 + shift[1] / 6))
    fov_deg = fov_from_focal(focal_from_fov(frame.fov_deg, size), width)
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
