"""NYU Depth v2, labelled part: `nyu_depth_v2_labeled.mat` (MATLAB 7.3) and `splits.mat`.

The 654 test frames with the depth the sensor measured (`rawDepths`), up to 10 m, within the crop of
Eigen et al. (arXiv 1406.2283). Pictures are shown without their white border, which is no scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from depth_pro_ros.evaluation.formats import known, outside_as_nan, read_mat
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth

FOCAL_PX = 518.857901
"""fx of the colour camera, from the toolbox of the data set (camera_params.m)."""
BORDER = np.s_[7:474, 7:632]
EIGEN_CROP = (45, 471, 41, 601)


def find(root: Path) -> Sequence[Frame]:
    """Give the test frames; none where the file is not there."""
    path = root / 'nyu_depth_v2_labeled.mat'
    if not path.is_file():
        return []
    splits = root / 'splits.mat'
    if not splits.is_file():
        raise DataError(f'{splits} is missing: it tells which frames are for testing')
    numbers = read_mat(splits, 'testNdxs').ravel()
    return [
        Frame(f'{number:05d}', 'nyu', partial(_read, path, int(number) - 1), max_depth_m=10.0)
        for number in numbers
    ]


def _read(path: Path, index: int) -> Truth:
    """Read one frame; MATLAB stores columns first, so (3, W, H) and (W, H)."""
    import h5py

    try:
        with h5py.File(path) as file:
            rgb = file['images'][index].transpose(2, 1, 0)
            depth_m = known(file['rawDepths'][index].T)
    except (KeyError, IndexError, ValueError, OSError) as error:
        raise DataError(f'{path} has no whole frame {index + 1}: {error}') from error
    return Truth(
        rgb=np.ascontiguousarray(rgb[BORDER]),
        depth_m=outside_as_nan(depth_m, *EIGEN_CROP)[BORDER],
        focal_px=FOCAL_PX,
    )
