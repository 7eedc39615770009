"""File formats that depth is published in."""

from __future__ import annotations

from pathlib import Path

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
