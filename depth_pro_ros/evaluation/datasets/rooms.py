"""What `depth_pro rooms` renders: frames.json, NAME.jpg, and NAME.npz with depth_m and fov_deg."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from depth_pro_ros.camera import focal_from_fov
from depth_pro_ros.evaluation.formats import known
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture


def find(root: Path) -> Sequence[Frame]:
    """Give the rendered frames; none where frames.json is not there, or tells of other files."""
    path = root / 'frames.json'
    try:
        entries = json.loads(path.read_text())['frames'] if path.is_file() else []
        names = [entry['name'] for entry in entries if 'fov_deg' in entry]
    except (ValueError, KeyError, TypeError):
        return []  # for the loader of frames.json to complain of
    return [Frame(name, 'rooms', partial(_read, root / name)) for name in names]


def _read(stem: Path) -> Truth:
    """Read one frame."""
    rgb = read_picture(stem.with_name(f'{stem.name}.jpg'))
    path = stem.with_name(f'{stem.name}.npz')
    try:
        with np.load(path) as stored:
            depth_m, fov_deg = known(stored['depth_m']), float(stored['fov_deg'])
    except (KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f'{path} is no rendered frame: {error}') from error
    return Truth(rgb, depth_m, focal_from_fov(fov_deg, rgb.shape[1]))
