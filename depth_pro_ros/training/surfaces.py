"""Photographs that a renderer may put on surfaces: any folder of pictures."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.images import PICTURES, find_pictures, read_picture
from depth_pro_ros.training.furniture import in_held_out_tenth

SURFACE_PX = 128
MOST_SURFACES = 1800  # of a picture array's 2,048 layers that every OpenGL 3.3 driver has


def load_surfaces(folder: Path, held_out: bool = False) -> NDArray[np.uint8]:
    """Give the pictures of a folder and those in it, shrunk to squares (N, 128, 128, 3).

    A tenth of them, chosen by their names, is for held-out rooms alone. Raises ValueError where
    there are none or too many, ImageError where one cannot be read.
    """
    found = find_pictures(folder)
    chosen = [p for p in found if in_held_out_tenth(p.name) == held_out]
    if not 0 < len(chosen) <= MOST_SURFACES:
        rooms = 'held-out' if held_out else 'training'
        raise ValueError(
            f'{folder} holds {len(found)} pictures ({", ".join(PICTURES)}), {len(chosen)} of them '
            f'for {rooms} rooms (a tenth, by their names, is held out); '
            f'1 to {MOST_SURFACES} can be used'
        )
    return np.stack([_square(path) for path in chosen])


def _square(path: Path) -> NDArray[np.uint8]:
    picture = read_picture(path)
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[top : top + side, left : left + side]
    size = (SURFACE_PX, SURFACE_PX)
    return np.asarray(cv2.resize(middle, size, interpolation=cv2.INTER_AREA), np.uint8)
