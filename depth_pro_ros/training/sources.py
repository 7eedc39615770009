"""Where training frames come from: rendered rooms, a teacher, data sets, folders of one's own."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from depth_pro_ros.camera import fov_from_focal
from depth_pro_ros.evaluation.datasets import find_frames
from depth_pro_ros.evaluation.frame import DataError, Truth
from depth_pro_ros.evaluation.frame import Frame as MeasuredFrame
from depth_pro_ros.training.frames import Frames
from depth_pro_ros.training.rooms import Frame

LONGEST_PX = 640
"""Larger pictures are shrunk, so that a data set stays in memory."""


def open_frames(path: Path) -> Frames:
    """Give the frames of a folder: what `rooms` or `distil` wrote, or any data set with depth.

    Raises DataError where there is nothing of the kind.
    """
    index = path / 'frames.json'
    entries = json.loads(index.read_text())['frames'] if index.is_file() else []
    if entries and 'fov_deg' in entries[0]:
        return Frames([partial(read_written, path / entry['name']) for entry in entries])
    frames = find_frames(path)
    return Frames([partial(read_measured, frame) for frame in frames])


def read_written(path: Path) -> Frame:
    """Read what `write_frames` wrote as `path`.jpg and `path`.npz."""
    rgb = np.ascontiguousarray(np.asarray(cv2.imread(f'{path}.jpg'))[..., ::-1])
    with np.load(f'{path}.npz') as stored:
        return Frame(rgb, stored['depth_m'], float(stored['fov_deg']))


def read_measured(frame: MeasuredFrame) -> Frame:
    """Read a data set's frame; depth outside of its range becomes NaN, unknown."""
    truth: Truth = frame.read()
    if truth.focal_px is None:
        raise DataError(f'{frame.name} has no focal length, without which nothing is metric')
    height, width = truth.rgb.shape[:2]
    fov_deg = fov_from_focal(truth.focal_px, width)
    shrink = min(1.0, LONGEST_PX / max(height, width))
    size = round(width * shrink), round(height * shrink)
    depth_m = cv2.resize(truth.depth_m, size, interpolation=cv2.INTER_NEAREST)
    outside = (depth_m < frame.min_depth_m) | (depth_m > frame.max_depth_m)
    depth_m = np.where(outside, np.nan, depth_m).astype(np.float16)
    return Frame(cv2.resize(truth.rgb, size, interpolation=cv2.INTER_AREA), depth_m, fov_deg)
