"""Calibrations as files that camera drivers load (the YAML of camera_info_manager)."""

from __future__ import annotations

from pathlib import Path

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.images import write_aside


def save_calibration(folder: Path, name: str, camera: Intrinsics) -> Path:
    """Write `folder`/`name`.yaml with a pinhole camera without distortion; gives its path.

    Raises ValueError for a name that would lead out of the folder, ImageError where the file cannot
    be written.
    """
    folder = folder.expanduser().resolve()
    path = folder / f'{name}.yaml'
    if path.parent != folder or path.is_symlink():
        raise ValueError(f'{path} is not a file of {folder} itself')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f'cannot make {folder}: {error.strerror}') from error
    text = calibration_text(name, camera)
    write_aside(path, lambda aside: aside.write_text(text))
    return path


def calibration_text(name: str, camera: Intrinsics) -> str:
    """Give the YAML of a pinhole camera."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return '\n'.join(
        [
            f'image_width: {camera.width}',
            f'image_height: {camera.height}',
            f'camera_name: {name}',
            *matrix('camera_matrix', 3, [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]),
            'distortion_model: plumb_bob',
            *matrix('distortion_coefficients', 1, [0.0] * 5),
            *matrix('rectification_matrix', 3, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
            *matrix(
                'projection_matrix', 3, [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
            ),
            '',
        ]
    )


def matrix(name: str, rows: int, values: list[float]) -> list[str]:
    """Give the lines of a matrix, row by row."""
    data = ', '.join(f'{value:.9g}' if value % 1 else f'{value:.1f}' for value in values)
    return [f'{name}:', f'  rows: {rows}', f'  cols: {len(values) // rows}', f'  data: [{data}]']
