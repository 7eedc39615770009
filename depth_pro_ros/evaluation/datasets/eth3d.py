"""ETH3D, high-resolution multi-view training scenes: pictures as taken, depth of a laser scan.

SCENE/images/dslr_images, SCENE/ground_truth_depth/dslr_images (bare floats, inf unknown) and
SCENE/dslr_calibration_jpg (COLMAP). Depth from 0.1 to 200 m (paper, table 18), of the pictures with
their lens distortion, as the paper does; the focal length is that of the calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from depth_pro_ros.evaluation.formats import known, read_raw_depth
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture

Camera = tuple[int, int, float]
"""Width, height and fx, in pixels."""


def find(root: Path) -> Sequence[Frame]:
    """Give the pictures that have depth, of all scenes."""
    frames = []
    for calibration in sorted(root.glob('**/dslr_calibration_jpg')):
        scene = calibration.parent
        depths = scene / 'ground_truth_depth' / 'dslr_images'
        if not depths.is_dir():
            continue
        cameras = read_cameras(calibration)
        for depth in sorted(depths.iterdir()):
            image = scene / 'images' / 'dslr_images' / depth.name
            camera = cameras.get(f'dslr_images/{depth.name}')
            if camera is None:
                raise DataError(f'{calibration}/images.txt does not tell of {depth.name}')
            read = partial(_read, image, depth, camera)
            name = f'{scene.name}/{depth.stem}'
            frames.append(Frame(name, 'eth3d', read, min_depth_m=0.1, max_depth_m=200.0))
    return frames


def read_cameras(folder: Path) -> dict[str, Camera]:
    """Read COLMAP's cameras.txt and images.txt: name of a picture -> its camera."""
    try:
        cameras = {}
        for line in _lines(folder / 'cameras.txt'):
            number, _, width, height, focal_px = line.split()[:5]
            cameras[number] = int(width), int(height), float(focal_px)
        # every other line has the points of the picture before it
        words = [line.split() for line in _lines(folder / 'images.txt')]
        return {each[9]: cameras[each[8]] for each in words if len(each) == 10 and '/' in each[9]}
    except (ValueError, KeyError) as error:
        raise DataError(f'{folder} is no COLMAP calibration: {error!r}') from error


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith('#')]


def _read(image: Path, depth: Path, camera: Camera) -> Truth:
    width, height, focal_px = camera
    return Truth(read_picture(image), known(read_raw_depth(depth, width, height)), focal_px)
