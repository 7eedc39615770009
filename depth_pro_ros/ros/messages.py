"""Messages to arrays and back, in one place; what needs no ROS for it lives outside of `ros`."""

from __future__ import annotations

import array
import math
import sys
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.camera_info import pinhole_fields
from depth_pro_ros.decoding import rgb_from_compressed, rgb_from_image
from depth_pro_ros.point_cloud import FIELDS, POINT_STEP, pack_cloud

Message = TypeVar('Message', Image, CompressedImage, PointCloud2)


def rgb_from_message(msg: Image | CompressedImage) -> NDArray[np.uint8]:
    """Give either kind of image as (H, W, 3) RGB. Raises ValueError with the reason."""
    return rgb_from_compressed(msg) if isinstance(msg, CompressedImage) else rgb_from_image(msg)


def image_message(header: Header, pixels: NDArray[np.generic], encoding: str) -> Image:
    """Make an Image of a (H, W) or (H, W, C) array."""
    image = Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=pixels.nbytes // pixels.shape[0],
    )
    return with_data(image, as_bytes(pixels))


def compressed_message(header: Header, kind: str, data: bytes) -> CompressedImage:
    """Make a CompressedImage of encoded data; kind: its `format`."""
    image = CompressedImage(header=header, format=kind)
    return with_data(image, as_bytes(np.frombuffer(data, np.uint8)))


def jpeg_message(header: Header, rgb: NDArray[np.uint8]) -> CompressedImage:
    """Make a JPEG CompressedImage of (H, W, 3) colours, as image_transport's `compressed`."""
    data = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    return compressed_message(header, 'rgb8; jpeg compressed bgr8', data.tobytes())


class Clouds:
    """Makes organized clouds, each in the memory of the one before: publish that first.

    A full-HD cloud has 33 MB, and fresh memory for it would take longer than filling it. It is kept
    for the next cloud.
    """

    def __init__(self) -> None:
        self._data: array.array[int] = array.array('B')

    def message(
        self,
        header: Header,
        depth_m: NDArray[np.float32],
        rgb: NDArray[np.uint8],
        camera: Intrinsics,
        stride: int = 1,
    ) -> PointCloud2:
        """Make the PointCloud2 (x, y, z, rgb) of a depth map (H, W) and its picture (H, W, 3)."""
        height, width = (math.ceil(side / stride) for side in depth_m.shape)
        if len(self._data) != height * width * POINT_STEP:
            self._data = array.array('B')  # free it before there is another
            self._data = array.array('B', [0]) * (height * width * POINT_STEP)
        packed = np.frombuffer(self._data, '<f4').reshape(height, width, len(FIELDS))
        pack_cloud(depth_m, rgb, camera, stride, out=packed)
        cloud = PointCloud2(
            header=header,
            height=height,
            width=width,
            fields=[
                PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                for i, name in enumerate(FIELDS)
            ],
            is_bigendian=False,
            point_step=POINT_STEP,
            row_step=POINT_STEP * width,
            is_dense=False,
        )
        return with_data(cloud, self._data)


def with_data(message: Message, data: array.array[int]) -> Message:
    """Hand over a message's data as it is.

    The constructor copies it, and since Jazzy the property does so again, with the interpreter
    locked: 37 ms for a full-HD cloud.
    """
    message._data = data
    return message


def as_bytes(pixels: NDArray[np.generic]) -> array.array[int]:
    """Give an array's bytes as message data; assigning bytes or an ndarray is far slower."""
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    return data


def info_from_intrinsics(header: Header, intrinsics: Intrinsics) -> CameraInfo:
    """Make the CameraInfo of a pinhole camera without distortion."""
    return CameraInfo(
        header=header,
        width=intrinsics.width,
        height=intrinsics.height,
        distortion_model='plumb_bob',
        **pinhole_fields(intrinsics),
    )


def stamp_ns(header: Header) -> int:
    """Give the stamp of a header in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def stamp_s(header: Header) -> float:
    """Give the stamp of a header in seconds."""
    return stamp_ns(header) * 1e-9
