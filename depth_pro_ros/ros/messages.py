"""Messages to arrays and back, in one place.

Decoding needs OpenCV and numpy alone, and not cv_bridge: a cv_bridge built for NumPy 1 cannot be
imported beside NumPy 2, and two ways to decode would have to agree.
"""

from __future__ import annotations

import array
import io
import sys

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depth_pro_ros.camera import Intrinsics, check_size
from depth_pro_ros.rectify import Rectifier, make_rectifier

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


class MessageError(ValueError):
    """A message that cannot be used; the message says what is wrong with it."""


def rgb_from_image(msg: Image) -> NDArray[np.uint8]:
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


def rgb_from_compressed(msg: CompressedImage) -> NDArray[np.uint8]:
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
    if kind == 'JPEG':  # OpenCV fills the rest of a cut JPEG with grey: no end after the last scan
        whole = data.rfind(b'\xff\xd9') > data.rfind(b'\xff\xda')
    else:
        whole = b'IEND\xaeB`\x82' in data
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if whole else None
    if bgr is None:
        raise MessageError(f'the {kind} data are cut off or damaged')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def short(text: str) -> str:
    """Give the beginning of a peer's text, fit for a log."""
    return ''.join(letter for letter in text[:40] if letter.isprintable())


def image_message(header: Header, pixels: NDArray[np.generic], encoding: str) -> Image:
    """Make an Image of a (H, W) or (H, W, C) array."""
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=pixels.nbytes // pixels.shape[0],
        data=as_bytes(pixels),
    )


def cloud_message(
    header: Header, points_m: NDArray[np.float32], rgb: NDArray[np.uint8]
) -> PointCloud2:
    """Make an organized PointCloud2 (x, y, z, rgb) of (H, W, 3) points and colours."""
    height, width = points_m.shape[:2]
    packed = np.empty((height, width, 4), '<f4')
    packed[..., :3] = points_m
    colour = packed.view(np.uint8).reshape(height, width, 16)[..., 12:]
    colour[..., :3] = rgb[..., ::-1]
    colour[..., 3] = 0
    names = ('x', 'y', 'z', 'rgb')
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(names)
        ],
        is_bigendian=False,
        point_step=16,
        row_step=16 * width,
        data=as_bytes(packed),
        is_dense=False,
    )


def as_bytes(pixels: NDArray[np.generic]) -> array.array[int]:
    """Give an array's bytes as message data; assigning bytes or an ndarray is far slower."""
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    return data


def info_from_intrinsics(header: Header, intrinsics: Intrinsics) -> CameraInfo:
    """Make the CameraInfo of a pinhole camera without distortion."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    return CameraInfo(
        header=header,
        width=intrinsics.width,
        height=intrinsics.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def is_calibrated(info: CameraInfo) -> bool:
    """Tell whether a CameraInfo carries a calibration; K[0] == 0 says that it does not."""
    return bool(info.k[0] != 0.0)


def info_for_image(info: CameraInfo, width: int, height: int) -> CameraInfo:
    """Give a camera's CameraInfo for images of a size: its region and binning applied, P filled.

    Raises MessageError where it cannot belong to an image of that size.
    """
    if not np.isfinite([*info.k, *info.p, *info.d, *info.r]).all():
        raise MessageError('camera_info has values that are not finite')
    region = info.roi
    full_width, full_height = region.width or info.width, region.height or info.height
    if not (full_width and full_height):
        raise MessageError(f'camera_info has a size of {full_width}x{full_height}')
    if abs(width * full_height - height * full_width) > 0.02 * height * full_width:
        raise MessageError(
            f'camera_info is for {full_width}x{full_height}, which has another shape than the '
            f'image of {width}x{height}'
        )
    p = info.p if info.p[0] != 0.0 else (*info.k[:3], 0.0, *info.k[3:6], 0.0, *info.k[6:], 0.0)
    if min(info.k[0], info.k[4], p[0], p[5]) <= 0.0:
        raise MessageError('camera_info has a focal length that is not positive')

    def scaled(fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
        cx, cy = cx - region.x_offset, cy - region.y_offset
        return Intrinsics(full_width, full_height, fx, fy, cx, cy).scaled(width, height)

    result = info_from_intrinsics(info.header, scaled(p[0], p[5], p[2], p[6]))
    raw = scaled(info.k[0], info.k[4], info.k[2], info.k[5])
    result.k = info_from_intrinsics(info.header, raw).k
    result.distortion_model, result.d = info.distortion_model, info.d
    if any(info.r):
        result.r = info.r
    return result


def rectifier_from_info(info: CameraInfo) -> Rectifier:
    """Prepare to rectify the images of a camera. Raises MessageError for an unknown lens."""
    k, r, p = np.reshape(info.k, (3, 3)), np.reshape(info.r, (3, 3)), np.reshape(info.p, (3, 4))
    try:
        return make_rectifier(
            info.distortion_model, list(info.d), k, r, p[:, :3].copy(), (info.width, info.height)
        )
    except (ValueError, cv2.error) as error:
        raise MessageError(f'camera_info: {error}') from error


def intrinsics_from_info(info: CameraInfo) -> Intrinsics:
    """Give the projection (P) of a CameraInfo, which is what clouds are made with."""
    return Intrinsics(info.width, info.height, info.p[0], info.p[5], info.p[2], info.p[6])
