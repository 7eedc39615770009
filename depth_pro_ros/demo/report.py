"""What the demonstration writes: a picture, a cloud and a table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2

from depth_pro_ros.camera import fov_from_focal
from depth_pro_ros.demo.camera import Answer, Showing
from depth_pro_ros.images import depth_picture, depth_range, write_ply, write_png

ROW_HEIGHT = 360


def write_picture(path: Path, showings: list[Showing]) -> None:
    """Write one row a photograph: the input, and its depth with a scale in metres."""
    rows = [_row(showing.rgb, _depth(showing.answers()[-1].depth)) for showing in showings]
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    write_png(path, np.vstack(padded))


def write_cloud(path: Path, answer: Answer) -> int:
    """Write the points of an answer as PLY; gives how many there are."""
    points_m, rgb = _points(answer.points)
    write_ply(path, points_m, rgb)
    return int(np.isfinite(points_m).all(axis=-1).sum())


def table(showings: list[Showing]) -> str:
    """Give a line for each photograph and one for all."""
    lines = [
        f'{"photo":<14}{"size":>10}{"in":>6}{"out":>5}{"latency, p95":>18}{"focal":>9}{"fov":>7}'
        f'{"depth":>17}'
    ]
    for showing in showings:
        answer = showing.answers()[-1]
        height, width = showing.rgb.shape[:2]
        focal_px = answer.info.k[0] if answer.info else 0.0
        near_m, far_m = depth_range(_depth(answer.depth))
        lines.append(
            f'{showing.name:<14}{f"{width}x{height}":>10}{_counts([showing])}'
            f'{focal_px:>6.0f} px{fov_from_focal(focal_px, width):>5.0f}°'
            f'{f"{near_m:.2f} to {far_m:.2f} m":>19}'
        )
    lines.append(f'{"all":<14}{"":>10}{_counts(showings)}')
    return '\n'.join(lines)


def _counts(showings: list[Showing]) -> str:
    """Give frames in, frames out, and the latency's median and 95th percentile."""
    latencies = [answer.latency_s for showing in showings for answer in showing.answers()]
    frames = sum(len(showing.frames) for showing in showings)
    median, p95 = (f'{value * 1e3:.0f} ms' for value in np.percentile(latencies, (50, 95)))
    return f'{frames:>6}{len(latencies):>5}{f"{median}, {p95}":>18}'


def _row(rgb: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    size = (round(rgb.shape[1] * ROW_HEIGHT / rgb.shape[0]), ROW_HEIGHT)
    picture = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    small_m = cv2.resize(depth_m, size, interpolation=cv2.INTER_NEAREST)
    return np.hstack([picture, depth_picture(np.asarray(small_m, np.float32))])


def _depth(message: Image) -> NDArray[np.float32]:
    """Give the metres of a 32FC1 image, read without the help of the code that wrote them."""
    return np.frombuffer(message.data, '<f4').reshape(message.height, message.width)


def _points(message: PointCloud2) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Give points (H, W, 3) in metres and RGB (H, W, 3) of an organised cloud."""
    layout = np.dtype([('xyz', '<f4', 3), ('bgr', 'u1', 3), ('unused', 'u1')])
    cloud = np.frombuffer(message.data, layout).reshape(message.height, message.width)
    return cloud['xyz'], cloud['bgr'][..., ::-1]
