"""Where training frames come from: rendered rooms, a teacher, data sets, folders, bags."""

import math
from collections.abc import Iterator
from dataclasses import replace
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
from depth_pro_ros.network import DepthProConfig
from depth_pro_ros.training.frames import FAR_M, Frames, resize_known
from depth_pro_ros.training.recorded import bag_pictures, bag_truths
from depth_pro_ros.training.rooms import Frame

LABELS = '.labels'
"""Suffix of the folders where a teacher's answers are kept."""
SHORTER_PX = 512
"""The shorter side of larger pictures is shrunk to this, so that a data set stays in memory, or to
the input of a larger network. The small one sees less, but of a crop all."""


def open_frames(
    path: Path,
    topic: str | None = None,
    depth_topic: str | None = None,
    focal_px: float | None = None,
    every: int = 1,
    shorter_px: int = SHORTER_PX,
) -> Frames:
    """Give the frames of what `rooms` or `distil` wrote, of a data set, or of a bag with depth.

    topic, depth_topic, every: of a bag. focal_px: of a bag, and of frames that know none.
    shorter_px: as of `kept_size`. Raises DataError or BagError where there are none.
    """
    if is_bag(path):
        truths = tqdm(
            bag_truths(path, topic, depth_topic, focal_px, every), unit='frame', desc='bag'
        )
        kept = [training_frame(truth, shorter_px) for truth in truths]
        return Frames([partial(kept.__getitem__, i) for i in range(len(kept))])
    read = partial(read_measured, focal_px=focal_px, shorter_px=shorter_px)
    if rendered := rooms.find(path):
        return Frames([partial(read, frame, math.inf) for frame in rendered])
    return Frames([partial(read, frame, frame.max_depth_m) for frame in find_frames(path)])


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


def read_measured(
    frame: MeasuredFrame, max_depth_m: float, focal_px: float | None, shorter_px: int
) -> Frame:
    """Read a data set's frame; depth outside of its range becomes NaN, unknown.

    focal_px: of a frame that does not know its own.
    """
    truth = frame.read()
    if truth.focal_px is None and focal_px is None:
        raise DataError(f'{frame.name} has no focal length: give --focal-px')
    truth = replace(truth, focal_px=truth.focal_px or focal_px)
    return training_frame(truth, shorter_px, frame.min_depth_m, max_depth_m)


def kept_px(config: DepthProConfig) -> int:
    """Give the most that a network learns from of the shorter side of a picture."""
    return max(SHORTER_PX, config.image_size)


def kept_size(rgb: NDArray[np.uint8], shorter_px: int) -> tuple[int, int]:
    """Give the (width, height) at which a picture (H, W, 3) is kept, the shorter at most that."""
    height, width = rgb.shape[:2]
    shrink = min(1.0, shorter_px / min(height, width))
    return round(width * shrink), round(height * shrink)


def training_frame(
    truth: Truth,
    shorter_px: int = SHORTER_PX,
    min_depth_m: float = MeasuredFrame.min_depth_m,
    max_depth_m: float = FAR_M,
) -> Frame:
    """Shrink a picture with depth to its `kept_size`, and turn depth out of range into NaN.

    Of inverse depth the mean is kept, as training does: edges stay where the picture has them.
    """
    assert truth.focal_px is not None
    width, size = truth.rgb.shape[1], kept_size(truth.rgb, shorter_px)
    outside = (truth.depth_m < min_depth_m) | (truth.depth_m > max_depth_m)
    known_m = np.where(outside, np.float32(np.nan), truth.depth_m)
    return Frame(
        cv2.resize(truth.rgb, size, interpolation=cv2.INTER_AREA),
        (1 / resize_known(1 / known_m, size)).astype(np.float16),
        fov_from_focal(truth.focal_px, width),
        exact=bool(np.isfinite(known_m).all()),
    )
