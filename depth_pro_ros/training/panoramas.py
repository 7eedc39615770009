"""Views of real panoramas, whose field of view is exact and whose depth a survey of them tells."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from depth_pro_ros.images import GAMMA, PICTURES, ImageError, find_pictures, read_light
from depth_pro_ros.network import DepthPro
from depth_pro_ros.training.camera_view import View, look
from depth_pro_ros.training.frames import Frames
from depth_pro_ros.training.rooms import Frame
from depth_pro_ros.training.sphere import look_up
from depth_pro_ros.training.survey import survey

RADIANCE = '.hdr'
LEAST_PX, MOST_PX = 512, 2048
"""Width of a panorama; wider ones are shrunk, so that many stay in memory."""
VIEWS = 100
TRIPOD_M = 1.5
"""Height of the camera over the floor that is usual."""
NARROWEST_DEG, WIDEST_DEG = 40.0, 100.0


def open_panoramas(folder: Path, network: DepthPro, tripod_m: float, views: int = VIEWS) -> Frames:
    """Give `views` views of each upright equirectangular panorama in a folder and those in it.

    network: says how far everything is; tripod_m: height of the camera over the floor, which
    makes metres of that. What cannot be used is told of and left out. Raises ValueError where
    there is nothing.
    """
    kinds = (*PICTURES, RADIANCE)
    readers: list[Callable[[], Frame]] = []
    paths = tqdm(find_pictures(folder, kinds), unit='panorama', desc='survey')
    for number, path in enumerate(paths):
        try:
            linear, distance_m = read_surveyed(path, network, tripod_m)
        except ImageError as error:
            tqdm.write(f'left out: {error}')
            continue
        readers += [partial(draw_view, linear, distance_m, [number, view]) for view in range(views)]
    if not readers:
        raise ValueError(f'{folder} holds no panorama that can be used ({", ".join(kinds)})')
    return Frames(readers)


def read_surveyed(
    path: Path, network: DepthPro, tripod_m: float
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Give a panorama's light (H, W, 3), and the distances around in metres. Raises ImageError."""
    linear = read_panorama(path)
    try:
        return linear, survey(network, partial(expose, linear), tripod_m)
    except ValueError as error:
        raise ImageError(f'{path}: {error}') from error


def read_panorama(path: Path) -> NDArray[np.float16]:
    """Read an equirectangular picture as linear light (H, W, 3) RGB. Raises ImageError."""
    linear = read_light(path)
    height, width = linear.shape[:2]
    if width != 2 * height or width < LEAST_PX:
        raise ImageError(
            f'{path}: {width}x{height}: a picture of all around is twice as wide as high, and at '
            f'least {LEAST_PX} wide'
        )
    if width > MOST_PX:
        shrunk = cv2.resize(linear, (MOST_PX, MOST_PX // 2), interpolation=cv2.INTER_AREA)
        linear = np.asarray(shrunk, np.float32)
    return linear.clip(0, 6e4).astype(np.float16)


def draw_view(
    linear: NDArray[np.float16], distance_m: NDArray[np.float32], seed: list[int]
) -> Frame:
    """Give the view of a panorama that belongs to a seed."""
    rng = np.random.default_rng(seed)
    fov_deg, aspect = rng.uniform(NARROWEST_DEG, WIDEST_DEG), rng.choice([4 / 3, 16 / 9, 1.0])
    yaw, pitch, roll = rng.uniform(-np.pi, np.pi), rng.normal(-0.1, 0.2), rng.normal(0, 0.03)
    view = look((0, 0, 0), yaw, pitch, roll, fov_deg, aspect)
    rgb = expose(linear, view, rng)
    towards = view.rays(*rgb.shape[1::-1])
    nearness = look_up(1 / distance_m, towards, cv2.INTER_LINEAR)  # of a plane, it is smooth
    depth_m = 1 / (nearness * np.linalg.norm(towards, axis=-1))
    return Frame(rgb, depth_m.astype(np.float16), fov_deg, exact=False)


def expose(linear: NDArray[np.float16], view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give the picture that a view takes of a panorama, (H, W, 3), exposed more or less well.

    As large as the narrowest view is sharp, whatever the view, so that sharpness does not tell
    the field of view; and drawn as finely as the panorama is, then shrunk.
    """
    per_radian = linear.shape[1] / (2 * np.pi)
    width, fine = (
        max(16, round(2 * tangent * per_radian))
        for tangent in (np.tan(np.radians(NARROWEST_DEG / 2)), view.tan_half_x)
    )
    shape = view.tan_half_y / view.tan_half_x
    seen = look_up(linear, view.rays(fine, round(fine * shape)), cv2.INTER_LINEAR)
    shrunk = cv2.resize(seen, (width, round(width * shape)), interpolation=cv2.INTER_AREA)
    grey = np.exp(np.log(shrunk.mean(axis=-1) + 1e-4).mean())
    exposed = shrunk * (0.2 / grey * 2 ** rng.uniform(-1, 1))
    return np.asarray((255 * exposed.clip(0, 1) ** (1 / GAMMA)).round(), np.uint8)
