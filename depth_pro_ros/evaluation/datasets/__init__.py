"""Published data sets, each read as its publisher lays it out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depth_pro_ros.evaluation.frame import DataError, Frame

LOADERS = {
    'rooms': 'frames.json, NAME.jpg, NAME.npz, as `depth_pro rooms` writes them',
    'frames': 'frames.json beside pictures and depth PNGs',
    'nyu': 'nyu_depth_v2_labeled.mat, splits.mat',
    'kitti': 'val_selection_cropped, or raw data and annotated depth (val/*_sync/proj_depth)',
    'eth3d': 'SCENE/images, SCENE/ground_truth_depth, SCENE/dslr_calibration_jpg',
    'middlebury': 'SCENE/im0.png, disp0.pfm, calib.txt',
    'booster': 'train/balanced/SCENE/camera_00, disp_00.npy, calib_00-02.xml',
    'sintel': 'training/final, training/depth, training/camdata_left',
    'sunrgbd': 'SUNRGBD/kv1, kv2, realsense, xtion',
    'ibims': 'ibims1_core_mat/*.mat',
    'nuscenes': 'v1.0-*/sample_data.json, samples',
}
"""Module of this package, whose find(root) gives the frames -> what lies in the folder."""


def find_frames(root: Path, name: str = 'auto', limit: int | None = None) -> Sequence[Frame]:
    """Give the frames of the data set in the folder `root`.

    name: one of LOADERS; `auto` takes the first whose layout fits. limit: how many, evenly chosen.
    Raises DataError where none does, or a file that tells of the frames is damaged.
    """
    if not root.is_dir():
        raise DataError(f'no folder {root}')
    if name not in ('auto', *LOADERS):
        raise DataError(f"no data set '{name}': use auto, {', '.join(LOADERS)}")
    for module_name in LOADERS if name == 'auto' else [name]:
        module = importlib.import_module(f'{__name__}.{module_name}')
        try:
            frames: Sequence[Frame] = module.find(root)
        except (DataError, ImportError):
            raise
        except Exception as error:
            told = f'{type(error).__name__}: {error}'
            raise DataError(f'{root} cannot be read as {module_name}: {told}') from error
        if frames:
            count = min(limit or len(frames), len(frames))
            chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
            return [frames[i] for i in chosen]
    wanted = {name: LOADERS[name]} if name in LOADERS else LOADERS
    layouts = '\n'.join(f'  {key:12}{layout}' for key, layout in wanted.items())
    raise DataError(f'{root} has none of the layouts that are known:\n{layouts}')
