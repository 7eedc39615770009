"""iBims-1: ibims1_core_mat/NAME.mat, 100 rooms with the depth of a laser scan.

Depth from 0.1 to 10 m (paper, table 18), without glass and other pixels the authors exclude.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from depth_pro_ros.evaluation.formats import known, read_mat
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth


def find(root: Path) -> Sequence[Frame]:
    """Give the frames of the MATLAB files."""
    folder = root if root.name == 'ibims1_core_mat' else root / 'ibims1_core_mat'
    return [
        Frame(path.stem, 'ibims', partial(_read, path), min_depth_m=0.1, max_depth_m=10.0)
        for path in sorted(folder.glob('*.mat'))
    ]


def _read(path: Path) -> Truth:
    """Read one file; masks are 1 where depth is good, and fx is the first number of calib."""
    try:
        data = read_mat(path, 'data')[0, 0]
        good = (data['mask_invalid'] > 0) & (data['mask_transp'] > 0)
        depth_m = known(np.where(good, data['depth'], 0))
        return Truth(np.ascontiguousarray(data['rgb']), depth_m, float(data['calib'][0, 0]))
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(f'{path} is no file of iBims-1: {error}') from error
