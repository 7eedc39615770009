"""Pictures with depth -> augmented training batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from depth_pro_ros.camera import focal_from_fov, fov_from_focal
from depth_pro_ros.devices import whole_memory_bytes
from depth_pro_ros.evaluation.frame import told
from depth_pro_ros.network import DepthProConfig, stretch
from depth_pro_ros.training.rooms import Frame

FAR_M = 1e4
SOFTEST_PX = 96


class Batch(NamedTuple):
    """Pictures (B, 3, S, S) uint8, canonical inverse depth (B, 1, T, T), NaN unknown; fov (B,).

    exact: whose depth is exact, (B,) bool.
    """

    image: Tensor
    inverse_depth: Tensor
    fov_deg: Tensor
    exact: Tensor

    def network_input(self) -> Tensor:
        """Give the pictures in [-1, 1]."""
        return self.image.float().div_(127.5).sub_(1)

    def to(self, device: torch.device) -> Batch:
        """Give the batch on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Frames:
    """Frames that are read when first asked for, and stay in memory then, as far as that reaches.

    One that cannot be read is told of once, and left out.
    """

    room_bytes = whole_memory_bytes() // 2
    """What all of them together may still keep."""

    def __init__(self, readers: Sequence[Callable[[], Frame]]) -> None:
        self.readers = readers
        self._kept: dict[int, Frame | None] = {}

    @classmethod
    def joined(cls, parts: Iterable[Frames]) -> Frames:
        """Give the frames of all parts, one after the other."""
        return cls([reader for part in parts for reader in part.readers])

    def __len__(self) -> int:
        return len(self.readers)

    def __getitem__(self, index: int) -> Frame | None:
        """Give a frame; None where it cannot be read."""
        if index not in self._kept:
            try:
                frame = self.readers[index]()
                size_bytes = frame.rgb.nbytes + frame.depth_m.nbytes
                if size_bytes > Frames.room_bytes:
                    return frame
                Frames.room_bytes -= size_bytes
                self._kept[index] = frame
            except ImportError:  # not this frame's fault, but that of all
                raise
            except Exception as error:
                tqdm.write(f'left out: {told(error)}')
                self._kept[index] = None
        return self._kept[index]

    def some(self, count: int | None = None) -> Iterator[Frame]:
        """Give at most `count` frames that can be read, evenly chosen; None: all."""
        chosen = np.linspace(0, len(self) - 1, min(len(self), count or len(self)))
        for index in chosen.round().astype(int).tolist():
            if (frame := self[index]) is not None:
                yield frame

    def draw(self, rng: np.random.Generator) -> Frame:
        """Give a random one. Raises ValueError where 100 in a row cannot be read."""
        for _ in range(100):
            if (frame := self[int(rng.integers(len(self)))]) is not None:
                return frame
        raise ValueError('most frames of the training data cannot be read')

    def hold_out(self, share: float = 0.1) -> tuple[Frames, Frames]:
        """Give all but the last part, and that part: neighbours in a recording look alike."""
        first = len(self) - max(1, round(share * len(self)))
        return Frames(self.readers[:first]), Frames(self.readers[first:])


def augment(frame: Frame, rng: np.random.Generator) -> Frame:
    """Crop (which narrows the field of view), flip, soften and recolour a frame."""
    if rng.random() < 0.6:
        frame = crop(frame, rng.uniform(0.6, 1.0), rng.uniform(0.9, 1.1), rng.uniform(-1, 1, 2))
    rgb, depth_m = frame.rgb, frame.depth_m
    if rng.random() < 0.5:
        rgb, depth_m = rgb[:, ::-1], depth_m[:, ::-1]
    if rng.random() < 0.5:
        rgb = soften(rgb, rng)
    return replace(frame, rgb=recolour(rgb, rng), depth_m=depth_m)


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
    return replace(frame, rgb=frame.rgb[box], depth_m=frame.depth_m[box], fov_deg=fov_deg)


def soften(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink a picture: how sharp one is must not tell how wide its view is.

    The shorter side keeps at least SOFTEST_PX.
    """
    height, width = rgb.shape[:2]
    least = min(1.0, SOFTEST_PX / min(height, width))
    ratio = least ** rng.random()
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def recolour(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue balance, by a table and one mix."""
    level = np.linspace(0, 1, 256) ** rng.uniform(0.65, 1.5) * rng.uniform(0.65, 1.5)
    table = 255 * level[:, None] * rng.uniform(0.92, 1.08, 3)
    picture = cv2.LUT(rgb, table.clip(0, 255).astype(np.uint8)[None])
    keep = rng.choice([0.0, rng.uniform(0.4, 1.5)], p=[0.05, 0.95])
    return cv2.transform(picture, keep * np.eye(3) + (1 - keep) / 3)


def canonical_inverse_depth(frame: Frame) -> np.ndarray:
    """C = f_px / (W D), (H, W) float32."""
    focal = np.float32(focal_from_fov(frame.fov_deg, 1))
    return focal / frame.depth_m.astype(np.float32).clip(1e-2, FAR_M)


def collate(frames: list[Frame], config: DepthProConfig, target_px: int) -> Batch:
    """Stretch frames to the network's input, and their C to `target_px`."""
    images, targets = [], []
    for frame in frames:
        targets.append(resize_known(canonical_inverse_depth(frame), (target_px, target_px)))
        rgb = torch.from_numpy(np.require(frame.rgb, requirements=['C', 'W']))
        images.append(stretch(rgb.permute(2, 0, 1)[None], config))  # (1, 3, S, S)
    return Batch(
        torch.cat(images).contiguous(),
        torch.from_numpy(np.stack(targets)).unsqueeze(1),
        torch.tensor([frame.fov_deg for frame in frames]),
        torch.tensor([frame.exact for frame in frames]),
    )


def resize_known(c: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map to (width, height): each pixel the mean of what is known below it, or NaN."""
    height, width = c.shape
    smaller = min(size[0], width), min(size[1], height)
    known = np.isfinite(c)
    if known.all():
        shrunk = cv2.resize(c, smaller, interpolation=cv2.INTER_AREA)
        return cv2.resize(shrunk, size, interpolation=cv2.INTER_LINEAR)
    total, share = (
        cv2.resize(part, smaller, interpolation=cv2.INTER_AREA)
        for part in (np.where(known, c, 0), known.astype(np.float32))
    )
    mean = np.where(share > 1e-3, total / share.clip(1e-3), np.float32(np.nan))
    return cv2.resize(mean, size, interpolation=cv2.INTER_NEAREST)  # holes keep their size
