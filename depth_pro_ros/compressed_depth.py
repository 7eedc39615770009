"""Depth images as image_transport's `compressedDepth`: 12 bytes of header, then a 16-bit PNG.

Metres are stored as inverse depth, `stored = a / depth + b`, with a and b in the header, so that
any decoder of that format can read them; 0 stands for depth that is not a finite number.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct('<iff')
"""The kind of quantisation (0: inverse depth), then a and b."""
FORMATS = {'32FC1': '32FC1; compressedDepth png', '16UC1': '16UC1; compressedDepth png'}
"""Encoding of the depth image -> `format` of the CompressedImage."""
LEVELS = 65535
PNG_LEVEL = 1
"""The fastest compression; higher levels take three times as long for a tenth of the bytes."""


def encode_depth(depth: NDArray[np.float32] | NDArray[np.uint16]) -> bytes:
    """Give the data of a CompressedImage for a depth image (H, W).

    depth: float32 metres (32FC1) or uint16 millimetres (16UC1, stored without loss). The 65,535
    levels of inverse depth span the finite range of this very image; what is not finite or not
    positive is lost to NaN, also the infinities of REP 117, for which the format has no room.
    """
    if depth.dtype == np.uint16:
        return HEADER.pack(0, 0.0, 0.0) + _png(depth)
    known = np.isfinite(depth) & (depth > 0)
    near, far = (
        (float(depth[known].min()), float(depth[known].max())) if known.any() else (1.0, 2.0)
    )
    far = max(far, near * 1.01)
    a = (LEVELS - 1) / (1.0 / near - 1.0 / far)
    b = 1.0 - a / far
    with np.errstate(divide='ignore', invalid='ignore'):
        stored = np.where(known, np.rint(a / depth.astype(np.float64) + b), 0.0)
    return HEADER.pack(0, a, b) + _png(stored.astype(np.uint16))


def decode_depth(data: bytes, encoding: str = '32FC1') -> NDArray[np.float32] | NDArray[np.uint16]:
    """Give the depth image (H, W) of the data of a CompressedImage.

    encoding: 32FC1 gives float32 metres, NaN where unknown; 16UC1 gives uint16 millimetres.
    Raises ValueError for anything else.
    """
    if encoding not in FORMATS:
        raise ValueError(f"no depth encoding '{encoding}'; there are: {', '.join(FORMATS)}")
    body = np.frombuffer(data, np.uint8)[HEADER.size :]
    stored = cv2.imdecode(body, cv2.IMREAD_UNCHANGED) if body.size else None
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
        raise ValueError('compressedDepth data without a whole 16-bit PNG after the header')
    if encoding == '16UC1':
        return np.asarray(stored, np.uint16)
    _, a, b = HEADER.unpack_from(data)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(stored > 0, a / (stored - b), np.nan).astype(np.float32)


def _png(image: NDArray[np.float32] | NDArray[np.uint16]) -> bytes:
    return bytes(cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1])
