"""Booster, training part: train/balanced/SCENE/{camera_00/*.png, disp_00.npy, calib_00-02.xml}.

228 left pictures of shiny and transparent things, depth up to 10 m (paper, table 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from depth_pro_ros.evaluation.formats import depth_of_disparity
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture


def find(root: Path) -> Sequence[Frame]:
    """Give the left pictures of all scenes, under each of their lights."""
    frames = []
    for calibration in sorted(root.glob('**/calib_00-02.xml')):
        scene = calibration.parent
        if (scene / 'disp_00.npy').is_file():
            for image in sorted((scene / 'camera_00').glob('*.png')):
                read = partial(_read, image, scene / 'disp_00.npy', calibration)
                name = f'{scene.name}/{image.stem}'
                frames.append(Frame(name, 'booster', read, max_depth_m=10.0))
    return frames


def _read(image: Path, disparity: Path, calibration: Path) -> Truth:
    """Read one picture; the baseline is in millimetres, disparity 0 is unknown."""
    try:
        storage = cv2.FileStorage(str(calibration), cv2.FILE_STORAGE_READ)
        projection = storage.getNode('proj_matL').mat()
        baseline_m = storage.getNode('baselineLR').real() / 1000
    except (cv2.error, SystemError) as error:  # the latter where the constructor fails
        raise DataError(f'{calibration} is no calibration of OpenCV') from error
    if projection is None or not baseline_m > 0:
        raise DataError(f'{calibration} has no proj_matL and baselineLR')
    focal_px = float(projection[0, 0])
    try:
        depth_m = depth_of_disparity(np.load(disparity), focal_px, baseline_m)
    except (TypeError, ValueError, EOFError, BadZipFile) as error:  # a zip is an .npz to NumPy
        raise DataError(f'{disparity} is no array: {error}') from error
    return Truth(read_picture(image), depth_m, focal_px)
