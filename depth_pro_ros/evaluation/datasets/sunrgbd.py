"""SUN RGB-D: SUNRGBD/SENSOR/.../SAMPLE/{image/*.jpg, depth/*.png, intrinsics.txt}.

Depth as measured (not `depth_bfx`, which fills holes by guessing), to 10 m (paper, table 18).
With SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat beside it the 5,050 test samples, else all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation.formats import metres, read_focal, read_mat, read_png16
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture

SENSORS = ('kv1', 'kv2', 'realsense', 'xtion')


def find(root: Path) -> Sequence[Frame]:
    """Give the test samples, or all where the split is not there."""
    data = next(
        (
            folder
            for folder in (root / 'SUNRGBD', root)
            if any((folder / sensor).is_dir() for sensor in SENSORS)
        ),
        None,
    )
    if data is None:
        return []
    split = root / 'SUNRGBDtoolbox' / 'traintestSUNRGBD' / 'allsplit.mat'
    if split.is_file():
        samples = test_samples(data, split)
    else:
        found = sorted(path.parent for path in data.glob('**/intrinsics.txt'))
        samples = [path for path in found if path.name != 'fullres']  # the same at another size
    return [
        Frame(str(sample.relative_to(data)), 'sunrgbd', partial(_read, sample), max_depth_m=10.0)
        for sample in samples
    ]


def test_samples(data: Path, split: Path) -> list[Path]:
    """Read the test samples: their paths start with where the authors had them."""
    paths = (str(cell[0]) for cell in read_mat(split, 'alltest').ravel())
    return [data / path.split('/SUNRGBD/', 1)[-1].strip('/') for path in paths]


def _read(sample: Path) -> Truth:
    images, depths = sorted(sample.glob('image/*')), sorted(sample.glob('depth/*.png'))
    if not images or not depths:
        raise DataError(f'{sample} lacks its picture or its depth')
    depth_m = metres(unrotate(read_png16(depths[0])), 1000.0)
    return Truth(read_picture(images[0]), depth_m, read_focal(sample / 'intrinsics.txt'))


def unrotate(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Turn the bits back, which are stored rotated left by three: millimetres."""
    return np.asarray((stored >> 3) | (stored << 13), np.uint16)
