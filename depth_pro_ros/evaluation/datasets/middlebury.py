"""Middlebury 2014 stereo: SCENE/im0.png, disp0.pfm (or disp0GT.pfm of MiddEval3), calib.txt.

Depth up to 10 m at full resolution, 15 scenes (paper, table 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from depth_pro_ros.evaluation.formats import depth_of_disparity, read_pfm
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture

DISPARITIES = ('disp0GT.pfm', 'disp0.pfm')


def find(root: Path) -> Sequence[Frame]:
    """Give the left picture of each scene with disparity."""
    frames = []
    for calibration in sorted(root.glob('**/calib.txt')):
        scene = calibration.parent
        disparity = next((scene / name for name in DISPARITIES if (scene / name).is_file()), None)
        if disparity is not None:
            read = partial(_read, scene / 'im0.png', disparity, calibration)
            frames.append(Frame(scene.name, 'middlebury', read, max_depth_m=10.0))
    return frames


def _read(image: Path, disparity: Path, calibration: Path) -> Truth:
    """Read one scene; the baseline is in millimetres."""
    try:
        lines = (line.split('=', 1) for line in calibration.read_text().splitlines() if '=' in line)
        values = {key.strip(): value for key, value in lines}
        focal_px = float(values['cam0'].strip(' [').split()[0])
        baseline_m = float(values['baseline']) / 1000
        offset_px = float(values['doffs'])
    except (KeyError, ValueError) as error:
        raise DataError(f'{calibration} is not as it should be: {error!r}') from error
    depth_m = depth_of_disparity(read_pfm(disparity), focal_px, baseline_m, offset_px)
    return Truth(read_picture(image), depth_m, focal_px)
