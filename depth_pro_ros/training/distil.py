"""Distillation: a big network's answers to unlabelled pictures teach a small one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depth_pro_ros.camera import focal_from_fov
from depth_pro_ros.network import DepthPro
from depth_pro_ros.training.frames import FAR_M
from depth_pro_ros.training.rooms import Frame, write_frames
from depth_pro_ros.training.sources import LONGEST_PX


def label(teacher: DepthPro, pictures: Iterable[NDArray[np.uint8]], folder: Path) -> None:
    """Write pictures (H, W, 3) with the teacher's depth and field of view into `folder`.

    The folder is then data like rendered rooms: `train` learns from it. What it holds already,
    from a run before, is kept as it is.
    """
    if not (folder / 'frames.json').exists():
        write_frames(folder, (answer(teacher, rgb) for rgb in pictures), seed=0)


@torch.inference_mode()
def answer(teacher: DepthPro, rgb: NDArray[np.uint8]) -> Frame:
    """Give a picture of at most LONGEST_PX a side, with the teacher's depth and field of view."""
    side = teacher.config.image_size
    shrinks = side < max(rgb.shape[:2]) and teacher.config.antialias
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    square = torch.from_numpy(cv2.resize(rgb, (side, side), interpolation=how))
    output = teacher(square.permute(2, 0, 1)[None].float() / 127.5 - 1)
    assert output.fov_deg is not None
    fov_deg = output.fov_deg.item()
    height, width = rgb.shape[:2]
    shrink = min(1.0, LONGEST_PX / max(height, width))
    size = round(width * shrink), round(height * shrink)
    c = cv2.resize(output.inverse_depth[0, 0].numpy(), size, interpolation=cv2.INTER_LINEAR)
    depth_m = focal_from_fov(fov_deg, 1) / c.clip(focal_from_fov(fov_deg, 1) / FAR_M)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return Frame(small, depth_m.astype(np.float16), fov_deg)
