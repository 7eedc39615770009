"""Where training frames come from: rendered rooms, a teacher, data sets, folders, bags."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from depth_pro_ros.bags.reading import is_bag
from depth_pro_ros.camera import fov_from_focal
from depth_pro_ros.evaluation.datasets import find_frames, rooms
from depth_pro_ros.evaluation.frame import DataError, Truth
from depth_pro_ros.evaluation.frame import Frame as MeasuredFrame
from depth_pro_ros.images import PICTURES, ImageError, find_pictures, read_picture
from depth_pro_ros.training.frames import FAR_M, Frames
from depth_pro_ros.training.recorded import bag_pictures, bag_truths
from depth_pro_ros.training.rooms import Frame

LABELS = '.labels'
"""Suffix of the folders where a teacher's answers are kept."""
SHORTER_PX = 512
"""The shorter side of larger pictures is shrunk to this, so that a data set stays in memory. The
small network sees less, but of a crop all."""


def open_frames(
    path: Path,
    topic: str | None = None,
    depth_topic: str | None = None,
    focal_px: float | None = None,
    every: int = 1,
) -> Frames:
    """Give the frames of what `rooms` or `distil` wrote, of a data set, or of a bag with depth.

    The other arguments are for bags. Raises DataError or BagError where there are none.
    """
    if is_bag(path):
        truths = bag_truths(path, topic, depth_topic, focal_px, every)
        kept = [training_frame(truth) for truth in tqdm(truths, unit='frame', desc='bag')]
        return Frames([partial(kept.__getitem__, i) for i in range(len(kept))])
    if rendered := rooms.find(path):
        return Frames([partial(read_measured, frame, math.inf) for frame in rendered])
    return Frames([partial(read_measured, frame, frame.max_depth_m) for frame in find_frames(path)])


def open_pictures(
    path: Path, topic: str | None = None, every: int = 1
) -> Iterator[NDArray[np.uint8]]:
    """Give the pictures (H, W, 3) of a bag, or of a folder and those in it, ordered by name.

    What cannot be read is told of and left out. Raises ValueError where there is none, BagError.
    """
    if is_bag(path):
        yield from tqdm(bag_pictures(path, topic, every), unit='picture', desc='teacher')
        return
    paths = [p for p in find_pictures(path) if not any(q.suffix == LABELS for q in p.parents)]
    if not paths:
        raise ValueError(f'{path} holds no pictures ({", ".join(PICTURES)}), and is no bag')
    for each in tqdm(paths, unit='picture', desc='teacher'):
        try:
            yield read_picture(each)
        except ImageError as error:
            tqdm.write(f'left out: {error}')


def read_measured(frame: MeasuredFrame, max_depth_m: float) -> Frame:
    """Read a data set's frame; depth outside of its range becomes NaN, unknown."""
    truth = frame.read()
    if truth.focal_px is None:
        raise DataError(f'{frame.name} has no focal length, without which nothing is metric')
    return training_frame(truth, frame.min_depth_m, max_depth_m)


def kept_size(rgb: NDArray[np.uint8]) -> tuple[int, int]:
    """Give the (width, height) at which a picture (H, W, 3) is kept."""
    height, width = rgb.shape[:2]
    shrink = min(1.0, SHORTER_PX / min(height, width))
    return round(width * shrink), round(height * shrink)


def training_frame(
    truth: Truth, min_depth_m: float = MeasuredFrame.min_depth_m, max_depth_m: float = FAR_M
) -> Frame:
    """Shrink a picture with depth to SHORTER_PX, and turn depth out of range into NaN."""
    assert truth.focal_px is not None
    width, size = truth.rgb.shape[1], kept_size(truth.rgb)
    depth_m = cv2.resize(truth.depth_m, size, interpolation=cv2.INTER_NEAREST)
    outside = (depth_m < min_depth_m) | (depth_m > max_depth_m)
    known_m = np.where(outside, np.nan, depth_m).astype(np.float16)
    return Frame(
        cv2.resize(truth.rgb, size, interpolation=cv2.INTER_AREA),
        known_m,
        fov_from_focal(truth.focal_px, width),
        exact=bool(np.isfinite(known_m).all()),
    )
