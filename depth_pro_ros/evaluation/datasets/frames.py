"""A folder of one's own: pictures, depth as 16-bit PNG, and `frames.json` that tells of them.

    {"frames": [{"name": "hall_0", "image": "hall_0.jpg", "depth": "hall_0_depth.png",
                 "depth_units_per_metre": 1000.0, "fx": 525.0}]}

Depth 0 is unknown. `fx` in pixels, `max_depth_m`, `crop` (top, bottom, left, right of what is
shown and measured) and `mask` (an 8-bit picture of the foreground) are optional. Frames whose
names differ only in the number at their end are one source; it has the folder's name where they
are nothing but a number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation.formats import metres, read_png16
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture

WHITE = 240
"""Darkest value of a white border; JPEG leaves it a little below 255."""


def find(root: Path) -> Sequence[Frame]:
    """Give the frames of `root/frames.json`; none where there is no such file."""
    path = root / 'frames.json'
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text())['frames']
        return [
            Frame(
                name=entry['name'],
                source=re.sub(r'[-_ ]?\d+$', '', entry['name']) or root.resolve().name,
                read=partial(_read, root, entry),
                max_depth_m=float(entry.get('max_depth_m', Frame.max_depth_m)),
            )
            for entry in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f'{path} is not as it should be: {error!r}') from error


def _read(root: Path, entry: dict[str, Any]) -> Truth:
    """Read the files of one entry."""
    try:
        image, depth = root / entry['image'], root / entry['depth']
        units_per_metre = float(entry['depth_units_per_metre'])
        focal_px = float(entry['fx']) if entry.get('fx') else None
        crop = [int(value) for value in entry.get('crop') or ()]
        mask_path = root / entry['mask'] if entry.get('mask') else None
    except KeyError as error:
        raise DataError(f'{entry["name"]} in frames.json has no {error}') from error
    except (TypeError, ValueError) as error:
        raise DataError(f'{entry["name"]} in frames.json: {error}') from error
    for key, value in (('fx', focal_px), ('depth_units_per_metre', units_per_metre)):
        if value is not None and not 0.0 < value < math.inf:
            raise DataError(f'{entry["name"]} in frames.json: {key} {value} is not positive')
    rgb = read_picture(image)
    depth_m = metres(read_png16(depth), units_per_metre)
    mask: NDArray[np.float32] | None = None
    if mask_path:
        mask = np.float32(1 / 255) * read_picture(mask_path)[..., 0]
    for path, other in ((depth, depth_m), (mask_path, mask)):
        if other is not None and other.shape != rgb.shape[:2]:
            raise DataError(f'{path} is of another size than {image}')
    if crop and not is_inside(crop, *rgb.shape[:2]):
        told = f'crop {crop} is not top, bottom, left, right within {image}'
        raise DataError(f'{entry["name"]} in frames.json: {told}')
    part = np.s_[crop[0] : crop[1], crop[2] : crop[3]] if crop else inside_white_border(rgb)
    return Truth(
        rgb=np.ascontiguousarray(rgb[part]),
        depth_m=depth_m[part],
        focal_px=focal_px,
        mask=None if mask is None else mask[part],
    )


def is_inside(crop: Sequence[int], height: int, width: int) -> bool:
    """Tell whether a crop is one, and of a picture of that size."""
    if len(crop) != 4:
        return False
    top, bottom, left, right = crop
    return 0 <= top < bottom <= height and 0 <= left < right <= width


def inside_white_border(rgb: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Give what a white border all around a picture leaves, as NYU pictures have one.

    A network would take the border for a part of the scene. Without one on all four sides, give
    the whole picture: a white sky or wall is none.
    """
    white = rgb.min(axis=2) >= WHITE
    rows = np.flatnonzero(white.mean(axis=1) < 0.9)
    columns = np.flatnonzero(white.mean(axis=0) < 0.9)
    height, width = white.shape
    if not rows.size or not columns.size:
        return np.s_[:height, :width]
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    if top == 0 or left == 0 or bottom == height - 1 or right == width - 1:
        return np.s_[:height, :width]
    soft = 2  # the pixels that blur into the border
    return np.s_[top + soft : bottom + 1 - soft, left + soft : right + 1 - soft]
