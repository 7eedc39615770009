"""Pictures: reading with their EXIF focal length, colouring depth, writing results."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from depth_pro_ros.camera import MAX_FOV_DEG, fov_from_focal
from depth_pro_ros.decoding import is_whole

PICTURES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
"""Suffixes, in lower case, that tell pictures."""
FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)
GAMMA = 2.2
"""Of ordinary pictures: light is their values to this power."""
MIN_LENS_FOV_DEG = 0.3
"""The longest lens of a camera (3000 mm of the 35 mm format) sees 0.7 degrees."""
EXIF = 0x8769
FOCAL_LENGTH, FOCAL_LENGTH_35_MM = 0x920A, 0xA405
RESOLUTION_WIDTH, RESOLUTION, RESOLUTION_UNIT = 0xA002, 0xA20E, 0xA210
"""EXIF tags: PixelXDimension, FocalPlaneXResolution, FocalPlaneResolutionUnit."""
MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
"""FocalPlaneResolutionUnit: inch, centimetre, millimetre, micrometre."""


class ImageError(RuntimeError):
    """A file that is no picture."""


class WriteError(RuntimeError):
    """A file that cannot be written, so that going on makes no sense."""


def find_pictures(folder: Path, kinds: Sequence[str] = PICTURES) -> list[Path]:
    """Give the files in a folder and those in it that end as pictures do, ordered by path."""
    found = (path for path in folder.rglob('*') if path.suffix.lower() in kinds)
    return sorted(path for path in found if path.is_file())


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) RGB, turned upright as its EXIF orientation asks."""
    return np.asarray(_read_rgb(path, cv2.IMREAD_COLOR), np.uint8)


def read_light(path: Path) -> NDArray[np.float32]:
    """Read a picture, or a Radiance file (.hdr), as linear light (H, W, 3) RGB; white is 1."""
    rgb = _read_rgb(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if rgb.dtype == np.float32:
        return rgb
    share = rgb.astype(np.float32) / np.float32(np.iinfo(rgb.dtype).max)
    return np.asarray(share**GAMMA, np.float32)


def _read_rgb(path: Path, flags: int) -> NDArray[Any]:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror}') from error
    try:
        bgr = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # more pixels than OpenCV reads
        raise ImageError(f'{path}: {error.err}') from error
    if bgr is None:
        raise ImageError(f'{path}: not a picture that OpenCV can read: make it JPEG or PNG')
    if not is_whole(data.tobytes()):
        raise ImageError(f'{path}: the file is cut off')
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def exif_focal_px(path: Path) -> float | None:
    """Give the focal length in pixels that a picture's EXIF data tell, or None.

    From the 35 mm equivalent (by the diagonal), else from the focal length and the resolution of
    the sensor, scaled where the picture was resized since. What no camera has counts as none.
    """
    try:
        with Image.open(path) as image:
            exif = image.getexif().get_ifd(EXIF)
            width, height = image.size
        equivalent_mm = float(exif.get(FOCAL_LENGTH_35_MM) or 0)
        if equivalent_mm > 0:
            focal_px = equivalent_mm / FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
        else:
            focal_mm = float(exif.get(FOCAL_LENGTH) or 0)
            per_mm = float(exif.get(RESOLUTION) or 0) / MM_PER_UNIT[exif.get(RESOLUTION_UNIT, 2)]
            focal_px = focal_mm * per_mm * width / float(exif.get(RESOLUTION_WIDTH) or width)
    except (
        KeyError,
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        ZeroDivisionError,
        struct.error,
        Image.DecompressionBombError,
    ):
        return None
    if not (math.isfinite(focal_px) and focal_px > 0):
        return None
    return focal_px if MIN_LENS_FOV_DEG < fov_from_focal(focal_px, width) < MAX_FOV_DEG else None


def depth_range(depth_m: NDArray[np.float32]) -> tuple[float, float]:
    """Give the nearest and farthest depth worth a colour: the 2nd and 98th percentile."""
    finite = depth_m[np.isfinite(depth_m)]
    if not finite.size:
        return 1.0, 10.0
    near, far = (float(value) for value in np.percentile(finite, (2.0, 98.0)))
    near = max(near, 1e-3)
    return near, max(far, 1.01 * near)


def colorize_depth(depth_m: NDArray[np.float32], near_m: float, far_m: float) -> NDArray[np.uint8]:
    """Colour depth (H, W) by its inverse, near red to far blue: (H, W, 3) RGB.

    Inverse depth spends the colours where a robot looks. Too far (+Inf) takes the farthest
    colour, unknown and too near are black.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        share = (1.0 / depth_m - 1.0 / far_m) / (1.0 / near_m - 1.0 / far_m)
    known = depth_m > 0  # False for NaN and -Inf
    levels = np.clip(np.where(known, share, 0.0) * 255.0, 0.0, 255.0).astype(np.uint8)
    rgb = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    rgb[~known] = 0
    return np.asarray(rgb, np.uint8)


def depth_scale_bar(near_m: float, far_m: float, height: int) -> NDArray[np.uint8]:
    """Draw the colours of `colorize_depth` as a bar with metres beside it: (height, 90, 3)."""
    bar = np.full((height, 90, 3), 255, np.uint8)
    inverse = np.linspace(1.0 / far_m, 1.0 / near_m, height, dtype=np.float32)[:, None]
    bar[:, 6:26] = colorize_depth(1.0 / inverse, near_m, far_m)
    ticks = max(3, min(9, height // 40))
    for row in np.linspace(0, height - 1, ticks):
        metres = 1.0 / float(inverse[int(row), 0])
        y = int(np.clip(row, 10, height - 6))
        cv2.line(bar, (26, int(row)), (31, int(row)), (0, 0, 0), 1)
        decimals = 2 if metres < 10 else 1 if metres < 100 else 0
        label = f'{metres:.{decimals}f} m'
        cv2.putText(
            bar, label, (34, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
        )
    return bar


def depth_picture(
    depth_m: NDArray[np.float32], range_m: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Colour depth over a range (None: its own), with a scale in metres at the right."""
    near_m, far_m = range_m or depth_range(depth_m)
    return np.hstack(
        [colorize_depth(depth_m, near_m, far_m), depth_scale_bar(near_m, far_m, len(depth_m))]
    )


def prepare_folder(output: Path) -> None:
    """Make the folder for results, and try whether it can be written. Raises WriteError."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=output, prefix='.writable')
        os.close(descriptor)
        os.unlink(name)
    except OSError as error:
        raise WriteError(f'cannot write into {output}: {error.strerror}') from error


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it: `path` is never half written.

    Raises WriteError.
    """
    aside = path.with_name(f'.{path.name}.part{path.suffix}')
    try:
        write(aside)
        os.replace(aside, path)
    except OSError as error:
        raise WriteError(f'cannot write {path}: {error.strerror or error}') from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write RGB uint8 (H, W, 3) or one uint16 channel (H, W) as PNG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    encoded = cv2.imencode('.png', bgr)[1].tobytes()
    write_aside(path, lambda aside: aside.write_bytes(encoded))


def write_npz(path: Path, **arrays: object) -> None:
    """Write a compressed .npz."""
    write_aside(path, lambda aside: np.savez_compressed(aside, **arrays))  # type: ignore[arg-type]


def write_ply(path: Path, points_m: NDArray[np.float32], rgb: NDArray[np.uint8]) -> None:
    """Write the finite ones of (..., 3) points in metres with (..., 3) colours as binary PLY."""
    finite = np.isfinite(points_m).all(axis=-1)
    layout = [('xyz', '<f4', 3), ('rgb', 'u1', 3)]
    vertices = np.empty(int(finite.sum()), layout)
    vertices['xyz'], vertices['rgb'] = points_m[finite], rgb[finite]
    header = '\n'.join(
        ['ply', 'format binary_little_endian 1.0', f'element vertex {len(vertices)}']
        + [f'property float {axis}' for axis in 'xyz']
        + [f'property uchar {colour}' for colour in ('red', 'green', 'blue')]
        + ['end_header\n']
    )
    write_aside(path, lambda aside: aside.write_bytes(header.encode() + vertices.tobytes()))
