"""Distillation: a big network's answers to unlabelled pictures teach a small one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depth_pro_ros.camera import focal_from_fov
from depth_pro_ros.network import DepthPro, stretch
from depth_pro_ros.training.frames import FAR_M
from depth_pro_ros.training.rooms import Frame, read_entry, write_frame, write_index
from depth_pro_ros.training.sources import SHORTER_PX, kept_size
from depth_pro_ros.training.train import autocast


def label(
    teacher: DepthPro,
    pictures: Iterable[NDArray[np.uint8]],
    folder: Path,
    origin: dict[str, Any],
    shorter_px: int = SHORTER_PX,
) -> None:
    """Write pictures (H, W, 3) with the teacher's depth and field of view into `folder`.

    The folder is then data like rendered rooms: `train` learns from it. What it holds already
    of a picture is kept, wherever that stands among the others now. origin: tells this teacher and
    these pictures from others. shorter_px: as of `kept_size`.
    Raises ValueError where the folder is of others, or there are no pictures.
    """
    index: dict[str, Any] = {}  # equal pictures count once
    for rgb in pictures:
        if not index:  # only now is it known that there are pictures
            claim(folder, origin)
        path = folder / name_of(rgb)
        index[path.name] = read_entry(path) or write_frame(path, answer(teacher, rgb, shorter_px))
    if not index:
        raise ValueError('none of the pictures can be read')
    write_index(folder, list(index.values()), origin)


def claim(folder: Path, origin: dict[str, Any]) -> None:
    """Write into a folder where its labels come from. Raises ValueError where it is of others."""
    told = folder / 'origin.json'
    folder.mkdir(parents=True, exist_ok=True)
    if told.is_file() and json.loads(told.read_text()) != origin:
        raise ValueError(f'{folder} is of another teacher or other pictures: delete it')
    told.write_text(json.dumps(origin))


def name_of(rgb: NDArray[np.uint8]) -> str:
    """Tell a picture (H, W, 3) from others by its pixels alone."""
    return hashlib.sha256(f'{rgb.shape}'.encode() + rgb.tobytes()).hexdigest()[:16]


@torch.inference_mode()
def answer(teacher: DepthPro, rgb: NDArray[np.uint8], shorter_px: int = SHORTER_PX) -> Frame:
    """Give a picture, shrunk as training keeps it, with the teacher's depth and field of view."""
    device = next(teacher.parameters()).device
    picture = torch.from_numpy(np.require(rgb, requirements=['C', 'W'])).to(device)
    image = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
    with autocast(device):
        output = teacher(stretch(image, teacher.config))
    assert output.fov_deg is not None
    fov_deg = min(max(output.fov_deg.item(), 1.0), 170.0)
    size = kept_size(rgb, shorter_px)
    c = cv2.resize(output.inverse_depth[0, 0].cpu().numpy(), size, interpolation=cv2.INTER_LINEAR)
    depth_m = focal_from_fov(fov_deg, 1) / c.clip(focal_from_fov(fov_deg, 1) / FAR_M)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return Frame(small, depth_m.astype(np.float16), fov_deg)
