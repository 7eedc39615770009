"""MPI Sintel: training/{final,depth,camdata_left}/SCENE/frame_0001.{png,dpt,cam}.

1,064 rendered frames of the pass `final`, depth from 0.01 to 80 m (paper, table 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation.formats import known
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture

TAG = np.float32(202021.25)
"""First number of .dpt and .cam files."""


def find(root: Path) -> Sequence[Frame]:
    """Give the frames of all scenes that have depth."""
    training = next(
        (
            folder
            for folder in (root / 'training', root)
            if (folder / 'depth').is_dir() and (folder / 'camdata_left').is_dir()
        ),
        None,
    )
    if training is None:
        return []
    frames = []
    for depth in sorted((training / 'depth').glob('*/*.dpt')):
        scene = depth.parent.name
        image = training / 'final' / scene / f'{depth.stem}.png'
        camera = training / 'camdata_left' / scene / f'{depth.stem}.cam'
        read = partial(_read, image, depth, camera)
        frames.append(Frame(f'{scene}/{depth.stem}', 'sintel', read, min_depth_m=0.01))
    return frames


def _read(image: Path, depth: Path, camera: Path) -> Truth:
    return Truth(read_picture(image), known(read_dpt(depth)), read_cam(camera))


def read_dpt(path: Path) -> NDArray[np.float32]:
    """Read depth (H, W) in metres: tag, width, height, floats."""
    data = path.read_bytes()
    size = np.frombuffer(data[4:12], '<i4')
    if data[:4] != TAG.tobytes() or len(data) != 12 + 4 * int(size.prod()):
        raise DataError(f'{path}: not a whole .dpt file')
    return np.frombuffer(data[12:], '<f4').reshape(size[1], size[0])


def read_cam(path: Path) -> float:
    """Read fx in pixels: tag, then the 3x3 intrinsics and the 3x4 extrinsics as doubles."""
    data = path.read_bytes()
    if data[:4] != TAG.tobytes() or len(data) != 4 + 8 * 21:
        raise DataError(f'{path}: not a whole .cam file')
    return float(np.frombuffer(data[4:12], '<f8')[0])
