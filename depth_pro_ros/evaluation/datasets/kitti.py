"""KITTI depth: accumulated LiDAR as 16-bit PNG in 1/256 m, measured up to 80 m.

`val_selection_cropped` (official selection of 1,000): all depth counts.
`eigen_test_files_with_gt.txt` (652 of the 697 test frames of Eigen et al.) beside raw data and
annotated depth, or without that list every annotated frame of `val`: depth counts within the crop
of Garg et al. (arXiv 1603.04992).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from depth_pro_ros.evaluation.formats import metres, outside_as_nan, read_focal, read_png16
from depth_pro_ros.evaluation.frame import Frame, Truth
from depth_pro_ros.images import read_picture

UNITS_PER_METRE = 256.0
GARG_CROP = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
"""Top, bottom, left, right as shares of the picture."""


def find(root: Path) -> Sequence[Frame]:
    """Give the frames of whichever of the layouts is there."""
    return [*_selection(root)] or [*_eigen(root)] or [*_annotated(root)]


def _selection(root: Path) -> Iterator[Frame]:
    """Find `val_selection_cropped/{image,groundtruth_depth,intrinsics}`."""
    for folder in (
        root,
        *root.glob('val_selection_cropped'),
        *root.glob('*/val_selection_cropped'),
    ):
        for image in sorted(folder.glob('image/*_image_0[23].png')):
            depth = (
                folder / 'groundtruth_depth' / image.name.replace('image', 'groundtruth_depth', 1)
            )
            intrinsics = folder / 'intrinsics' / f'{image.stem}.txt'
            yield _frame(image.stem, image, depth, intrinsics, crop=False)


def _eigen(root: Path) -> Iterator[Frame]:
    """Find the frames of the list: image and depth, relative to the folders of both."""
    names = root / 'eigen_test_files_with_gt.txt'
    lines = names.read_text().splitlines() if names.is_file() else []
    for line in lines:
        image_name, depth_name = line.split()[:2]
        if depth_name != 'None':
            image = _one_of(root, image_name, 'raw', 'input', 'kitti_raw_data')
            depth = _one_of(root, depth_name, 'val', 'train', 'gt_depth', 'data_depth_annotated')
            name = image_name.split('/', 1)[-1]
            yield _frame(name, image, depth, _calibration(image), crop=True)


def _annotated(root: Path) -> Iterator[Frame]:
    """Find `val/DRIVE/proj_depth/groundtruth/image_02/*.png` of which the raw picture is there."""
    for depth in sorted(root.glob('**/val/*_sync/proj_depth/groundtruth/image_0[23]/*.png')):
        camera, drive = depth.parent.name, depth.parents[3].name
        image = _one_of(
            root, f'{drive[:10]}/{drive}/{camera}/data/{depth.name}', 'raw', 'kitti_raw'
        )
        if image.parent.is_dir():
            name = f'{drive}/{camera}/{depth.stem}'
            yield _frame(name, image, depth, _calibration(image), crop=True)


def _one_of(root: Path, name: str, *folders: str) -> Path:
    """Give the file of that name in `root` or in one of its folders."""
    found = [root / name, *(root / folder / name for folder in folders)]
    there = [path for path in found if path.is_file()]
    return [*there, *(path for path in found if path.parent.is_dir()), found[0]][0]


def _calibration(image: Path) -> Path:
    """Give the calibration of the day of a raw picture."""
    return image.parents[3] / 'calib_cam_to_cam.txt'


def _frame(name: str, image: Path, depth: Path, calibration: Path, crop: bool) -> Frame:
    read = partial(_read, image, depth, calibration, crop)
    return Frame(name, 'kitti', read, max_depth_m=80.0)


def _read(image: Path, depth: Path, calibration: Path, crop: bool) -> Truth:
    depth_m = metres(read_png16(depth), UNITS_PER_METRE)
    height, width = depth_m.shape
    if crop:
        rows = [int(share * height) for share in GARG_CROP[:2]]
        columns = [int(share * width) for share in GARG_CROP[2:]]
        depth_m = outside_as_nan(depth_m, *rows, *columns)
    return Truth(read_picture(image), depth_m, _focal(calibration, image))


def _focal(path: Path, image: Path) -> float:
    """Read fx from nine numbers (selection) or from `P_rect_02: ...` (raw data)."""
    if path.name != 'calib_cam_to_cam.txt':
        return read_focal(path)
    return read_focal(path, f'P_rect_{image.parents[1].name[-2:]}:')  # image_02 or image_03
