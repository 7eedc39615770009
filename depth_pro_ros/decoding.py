"""Camera messages to RGB arrays, in one place, whichever library reads the messages.

Decoding needs OpenCV and numpy alone, and not cv_bridge: a cv_bridge built for NumPy 1 cannot be
imported beside NumPy 2, and two ways to decode would have to agree.
"""

from __future__ import annotations

import io
import re
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from depth_pro_ros.camera import check_size

CHANNELS = {
    'rgb8': (1, 3, None),
    'bgr8': (1, 3, cv2.COLOR_BGR2RGB),
    '8UC3': (1, 3, cv2.COLOR_BGR2RGB),
    'rgba8': (1, 4, cv2.COLOR_RGBA2RGB),
    'bgra8': (1, 4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, 1, cv2.COLOR_GRAY2RGB),
    '8UC1': (1, 1, cv2.COLOR_GRAY2RGB),
    'mono16': (2, 1, cv2.COLOR_GRAY2RGB),
    'rgb16': (2, 3, None),
    'bgr16': (2, 3, cv2.COLOR_BGR2RGB),
    'bayer_rggb8': (1, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, 1, cv2.COLOR_BayerGB2RGB),
    'bayer_rggb16': (2, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr16': (2, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg16': (2, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg16': (2, 1, cv2.COLOR_BayerGB2RGB),
    'yuv422': (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (1, 2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (1, 2, cv2.COLOR_YUV2RGB_YUY2),
    'nv12': (1, 1, cv2.COLOR_YUV2RGB_NV12),
    'nv21': (1, 1, cv2.COLOR_YUV2RGB_NV21),
}
"""Encoding -> bytes of a channel, channels, OpenCV's conversion to RGB (OpenCV names a Bayer
pattern by its second row, ROS by its first)."""

PNG, PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'
JPEG, JPEG_END = b'\xff\xd8', b'\xd9'
JPEG_MARKER = re.compile(b'\xff([\xc0-\xcf\xd9-\xfe])')
"""Begins a segment of a told length, or is the end."""

MOSAIC = re.compile(r'(bayer_(?:rggb|bggr|gbrg|grbg))(?:8|16); \w+ compressed ?$')
"""Format of a CompressedImage that has the sensor's mosaic: a PNG, or a JPEG of ROS 1. After other
pictures of a Bayer camera stands what they were converted to."""


class MessageError(ValueError):
    """A message that cannot be used; the message says what is wrong with it."""


class RawImage(Protocol):
    """What is read of a sensor_msgs/Image, from rclpy's class of that name or another's."""

    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: Any
    data: Any


class CompressedPicture(Protocol):
    """What is read of a sensor_msgs/CompressedImage."""

    format: str
    data: Any


def rgb_from_image(msg: RawImage) -> NDArray[np.uint8]:
    """Give an Image as (H, W, 3) RGB, a view on its buffer where it is rgb8.

    16-bit values are scaled by 1/257. Raises ValueError with the reason.
    """
    if msg.encoding not in CHANNELS:
        raise MessageError(
            f"encoding '{short(msg.encoding)}' is not supported; there are: {', '.join(CHANNELS)}"
        )
    depth, channels, conversion = CHANNELS[msg.encoding]
    width, height = msg.width, msg.height
    check_size(width, height)
    subsampled = msg.encoding in ('nv12', 'nv21')
    if (subsampled and (width % 2 or height % 2)) or (channels == 2 and width % 2):
        raise MessageError(f'{width}x{height} is odd, which {msg.encoding} cannot be')
    rows = height * 3 // 2 if subsampled else height
    row_bytes = width * channels * depth
    if msg.step < row_bytes:
        raise MessageError(f'step {msg.step} is less than a row of {row_bytes} bytes')
    needed = msg.step * (rows - 1) + row_bytes
    if len(msg.data) < needed:
        raise MessageError(f'data has {len(msg.data)} bytes, but {needed} are needed')
    order = '>' if msg.is_bigendian else '<'
    pixels: NDArray[np.generic] = np.ndarray(
        (rows, width, channels),
        dtype=f'{order}u{depth}',
        buffer=memoryview(msg.data),
        strides=(msg.step, channels * depth, depth),
    )
    if depth == 2:
        pixels = pixels.astype(np.uint16, copy=False)
    if conversion is not None:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    if depth == 2:
        pixels = cv2.convertScaleAbs(np.ascontiguousarray(pixels), alpha=1.0 / 257.0)
    return np.asarray(pixels, np.uint8)


def rgb_from_compressed(msg: CompressedPicture) -> NDArray[np.uint8]:
    """Give a JPEG or PNG CompressedImage as (H, W, 3) RGB. Raises ValueError."""
    if 'compressedDepth' in msg.format:
        raise MessageError(f"format '{short(msg.format)}' is a depth image, not a camera's")
    data = bytes(msg.data)
    try:
        with Picture.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as header:
            size, kind = header.size, header.format
    except Picture.DecompressionBombError as error:
        raise MessageError(f'too many pixels: {error}') from error
    except (OSError, SyntaxError, ValueError) as error:
        raise MessageError(f"format '{short(msg.format)}': neither JPEG nor PNG data") from error
    check_size(*size)
    mosaic = MOSAIC.match(msg.format)
    conversion = CHANNELS[f'{mosaic[1]}8' if mosaic else 'bgr8'][2]
    assert conversion is not None
    flags = cv2.IMREAD_GRAYSCALE if mosaic else cv2.IMREAD_COLOR
    flags |= cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if is_whole(data) else None
    if pixels is None:
        raise MessageError(f'the {kind} data are cut off or damaged')
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def is_whole(data: bytes) -> bool:
    """Tell whether JPEG or PNG data have their end; OpenCV 4 fills the rest of a JPEG with grey.

    Phones append a film or other pictures, so that the last marker of a JPEG tells nothing. Of
    other data nothing is known, and they count as whole.
    """
    if data.startswith(PNG):
        return PNG_END in data
    if not data.startswith(JPEG):
        return True
    position = len(JPEG)
    while marker := JPEG_MARKER.search(data, position):
        if marker[1] == JPEG_END:
            return True
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], 'big')
    return False


def short(text: str) -> str:
    """Give the beginning of a peer's text, fit for a log."""
    return ''.join(letter for letter in text[:40] if letter.isprintable())
