"""File formats that depth is published in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation.frame import DataError


def read_png16(path: Path) -> NDArray[np.uint16]:
    """Read a 16-bit grey PNG (H, W)."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None or image.dtype != np.uint16 or image.ndim != 2:
        raise DataError(f'{path}: not a 16-bit grey PNG')
    return np.asarray(image, np.uint16)


def metres(units: NDArray[np.uint16], units_per_metre: float) -> NDArray[np.float32]:
    """Give metres of integer depth (H, W), NaN where it is 0: unknown."""
    return np.where(units > 0, units / np.float32(units_per_metre), np.float32(np.nan))


def read_pfm(path: Path) -> NDArray[np.float32]:
    """Read a portable float map of one channel (H, W), top row first."""
    with path.open('rb') as file:
        kind = file.readline().strip()
        try:
            width, height = (int(word) for word in file.readline().split())
            scale = float(file.readline())
        except ValueError as error:
            raise DataError(f'{path}: not a PFM file: {error}') from error
        data = np.frombuffer(file.read(), '<f4' if scale < 0 else '>f4')
    if kind != b'Pf' or data.size != width * height:
        raise DataError(f'{path}: not a whole PFM file of one channel')
    return data.reshape(height, width)[::-1].astype(np.float32)


def read_raw_depth(path: Path, width: int, height: int) -> NDArray[np.float32]:
    """Read bare little-endian floats (H, W)."""
    data = np.fromfile(path, '<f4')
    if data.size != width * height:
        raise DataError(f'{path}: {data.size} depths, but the camera has {width}x{height} pixels')
    return data.reshape(height, width)


def known(depth_m: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give depth with NaN wherever it is not a positive number."""
    depth_m = np.asarray(depth_m, np.float32)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(np.nan))


def depth_of_disparity(
    disparity_px: NDArray[np.float32], focal_px: float, baseline_m: float, offset_px: float = 0.0
) -> NDArray[np.float32]:
    """Turn disparity (H, W) into metres; NaN where it is not a positive number.

    offset_px: what the principal points of the two cameras differ in x (Middlebury's doffs).
    """
    usable = np.isfinite(disparity_px) & (disparity_px > 0)
    shifted = np.where(usable, disparity_px, 1.0) + np.float32(offset_px)
    return known(np.where(usable, focal_px * baseline_m / shifted, np.nan))


def outside_as_nan(
    depth_m: NDArray[np.float32], top: int, bottom: int, left: int, right: int
) -> NDArray[np.float32]:
    """Forget the depth outside of a crop, so that it is not measured."""
    kept = np.full_like(depth_m, np.nan)
    kept[top:bottom, left:right] = depth_m[top:bottom, left:right]
    return kept


def read_focal(path: Path, key: str = '') -> float:
    """Read the number that a text file begins with, or that follows `key` in it."""
    try:
        text = path.read_text()
        return float(text[text.index(key) + len(key) :].split()[0])
    except (ValueError, IndexError) as error:
        raise DataError(f'{path} tells no focal length: {error}') from error


def read_mat(path: Path, name: str) -> NDArray[Any]:
    """Read a variable of a MATLAB file (before 7.3)."""
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path)[name])
    except Exception as error:  # SciPy has a dozen kinds for damage
        raise DataError(f'{path} has no {name}: {error}') from error
