"""Depth of files, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from depth_pro_ros.camera import Intrinsics, depth_to_millimetres, unproject
from depth_pro_ros.estimator import DepthEstimator, OutOfMemoryError
from depth_pro_ros.images import (
    ImageError,
    depth_picture,
    exif_focal_px,
    read_picture,
    write_npz,
    write_ply,
    write_png,
)


def estimate_pictures(
    estimator: DepthEstimator,
    paths: Sequence[Path],
    output: Path,
    focal_px: float | None = None,
) -> list[str]:
    """Write depth, millimetres, colours and cloud of each picture into the folder `output`.

    focal_px: of every picture; None takes each one's EXIF data, else the network's estimate.
    Returns one message for each picture that failed; the others are done all the same.
    """
    output.mkdir(parents=True, exist_ok=True)
    failures = []
    with tqdm(paths, unit='picture') as bar:
        for path, stem in zip(bar, unique_stems(paths), strict=True):
            try:
                bar.write(estimate_picture(estimator, path, output / stem, focal_px))
            except (ImageError, OutOfMemoryError, ValueError) as error:
                message = str(error)
                failures.append(message if str(path) in message else f'{path}: {message}')
    return failures


def estimate_picture(
    estimator: DepthEstimator, path: Path, stem: Path, focal_px: float | None
) -> str:
    """Estimate one picture, write its files beside `stem`, and give a line about it."""
    rgb = read_picture(path)
    source = 'given'
    if focal_px is None:
        focal_px = exif_focal_px(path)
        source = 'EXIF' if focal_px is not None else 'field-of-view head'
    prediction = estimator.predict(rgb, focal_px)
    depth_m = prediction.depth_m
    height, width = depth_m.shape
    points_m = unproject(depth_m, Intrinsics.from_focal(prediction.focal_px, width, height))
    write_png(stem.with_name(stem.name + '_mm.png'), depth_to_millimetres(depth_m))
    write_png(stem.with_name(stem.name + '_depth.png'), depth_picture(depth_m))
    write_ply(stem.with_name(stem.name + '.ply'), points_m, rgb)
    write_npz(
        stem.with_name(stem.name + '.npz'),
        depth_m=depth_m,
        focal_px=prediction.focal_px,
        fov_deg=prediction.fov_deg,
    )
    return (
        f'{path}: {float(depth_m.min()):.2f} to {float(depth_m.max()):.2f} m, '
        f'focal length {prediction.focal_px:.0f} px ({source})'
    )


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Give each path a name for its results; pictures of the same stem keep their suffix."""
    stems = [path.stem for path in paths]
    return [
        path.stem if stems.count(path.stem) == 1 else f'{index}_{path.name.replace(".", "_")}'
        for index, path in enumerate(paths)
    ]
