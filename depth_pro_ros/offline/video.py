"""Videos in and out, with OpenCV."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from depth_pro_ros.images import ImageError, WriteError, colorize_depth, depth_scale_bar

DEFAULT_RATE_HZ = 25.0
"""Of videos that do not tell, or tell nonsense."""
UNKNOWN_RATE_HZ = 1000.0
"""What FFmpeg tells of videos with milliseconds for time stamps, as browsers record them."""
MOST_TICKS = 65535
"""MPEG-4's largest number of ticks in a second. OpenCV takes a power of ten times the rate."""
MOST_MISSING = 0.1
"""Of the duration of a whole video: its sound may be longer than its pictures."""
MAX_PANE_PX = 1280
"""Longest side of the picture, and of its depth, in a video; decoders refuse very wide ones."""


def open_video(path: Path) -> cv2.VideoCapture:
    """Open a video by its absolute path: FFmpeg takes what stands before a colon for a protocol."""
    return cv2.VideoCapture(str(path.absolute()))


def measure_video(path: Path) -> tuple[int, float]:
    """Count the frames by decoding them all: what a file says of their number is often wrong.

    Also gives the seconds that are missing of the duration that it tells, 0 where hardly any are.
    Raises ImageError for what is no video, or has no frames.
    """
    if not path.is_file():
        raise ImageError(f'{path}: No such file or directory')
    video = open_video(path)
    try:
        if not video.isOpened():
            raise ImageError(f'{path}: not a video that OpenCV can read')
        grabbed = iter(video.grab, False)
        bar = tqdm(grabbed, f'counting {path.name}', unit='frame', leave=False, delay=1.0)
        ends_s = [video.get(cv2.CAP_PROP_POS_MSEC) * 1e-3 for _ in bar]
        rate_hz, told = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        video.release()
    if not ends_s:
        raise ImageError(f'{path}: a video without a frame that can be decoded')
    if not (ends_s[-1] > 0 and rate_hz > 0):
        return len(ends_s), 0.0
    missing_s = (told - 1.0) / rate_hz - ends_s[-1]
    return len(ends_s), missing_s if missing_s > MOST_MISSING * told / rate_hz else 0.0


def count_frames(path: Path) -> int:
    """Count the frames as `measure_video` does."""
    return measure_video(path)[0]


def frame_rate(path: Path) -> float:
    """Give the frames a second."""
    video = open_video(path)
    rate_hz = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return rate_hz if 0 < rate_hz < UNKNOWN_RATE_HZ else DEFAULT_RATE_HZ


def read_frames(path: Path, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Give the wanted frames in order: their number and (H, W, 3) RGB.

    Decodes from the start, for seeking is inexact. Raises ImageError where one is missing.
    """
    video = open_video(path)
    try:
        for index in range(max(wanted, default=-1) + 1):
            if not video.grab():
                raise ImageError(f'{path}: frame {index} cannot be decoded')
            if index in wanted:
                decoded, bgr = video.retrieve()
                if not decoded:
                    raise ImageError(f'{path}: frame {index} cannot be decoded')
                yield index, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        video.release()


def side_by_side(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], range_m: tuple[float, float]
) -> NDArray[np.uint8]:
    """Draw a picture, its depth in colours, and their scale in metres: (h, 2 w + 90, 3) RGB.

    Smaller than the picture where that is large; with even sides, which video codecs need.
    """
    height, width = depth_m.shape
    factor = min(1.0, MAX_PANE_PX / max(width, height))
    size = 2 * max(1, round(width * factor / 2)), 2 * max(1, round(height * factor / 2))
    panes = [
        cv2.resize(pane, size, interpolation=cv2.INTER_AREA)
        for pane in (rgb, colorize_depth(depth_m, *range_m))
    ]
    return np.hstack([*panes, depth_scale_bar(*range_m, size[1])]).astype(np.uint8)


def write_video(path: Path, pictures: Iterable[Path], rate_hz: float) -> None:
    """Make a video of pictures of one size, aside, and give it its name once it is whole.

    rate_hz: below UNKNOWN_RATE_HZ, and rounded as far as MPEG-4 needs it. OpenCV does not say when
    the disk is full, so the result is read back. Raises WriteError.
    """
    aside = path.with_name(f'.{path.name}.part{path.suffix}')
    rate_hz = round(rate_hz, math.floor(math.log10(MOST_TICKS / rate_hz)))
    writer = None
    count = 0
    try:
        for picture in pictures:
            bgr = cv2.imread(str(picture))
            if bgr is None:
                raise WriteError(f'{picture} cannot be read back; remove it and run again')
            if writer is None:
                codec = cv2.VideoWriter.fourcc(*'mp4v')
                size = bgr.shape[1::-1]
                writer = cv2.VideoWriter(str(aside.absolute()), codec, rate_hz, size)
                if not writer.isOpened():
                    raise WriteError(
                        f'cannot write {path}: OpenCV opens no MPEG-4 video of {size[0]}x{size[1]} '
                        f'at {rate_hz} Hz; is the disk full, or OpenCV built without FFmpeg?'
                    )
            writer.write(bgr)
            count += 1
        if writer is not None:
            writer.release()
        if not aside.is_file() or count_frames(aside) != count:
            raise WriteError(f'cannot write {path}: it did not come out whole; is the disk full?')
        os.replace(aside, path)
    except (ImageError, OSError) as error:
        raise WriteError(f'cannot write {path}: {error}; is the disk full?') from error
    finally:
        aside.unlink(missing_ok=True)
