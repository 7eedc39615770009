"""Calibrations as files that camera drivers load (the YAML of camera_info_manager)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.camera_info import pinhole_fields

MARK = '# Estimated by depth_pro_ros, and not measured: a checkerboard gives a better calibration.'
"""First line of a file that this module wrote, and may write anew."""


def save_calibration(folder: Path, name: str, camera: Intrinsics) -> Path:
    """Write `folder`/`name`.yaml with a pinhole camera without distortion; gives its path.

    Raises ValueError for a name that would lead out of the folder, for a file that somebody else
    wrote, and where the file cannot be written.
    """
    try:
        folder = folder.expanduser().resolve()
    except (RuntimeError, OSError) as error:  # no such home, or a loop of links
        raise ValueError(f'cannot find {folder}: {error}') from error
    path = folder / f'{name}.yaml'
    if path.parent != folder or path.is_symlink():
        raise ValueError(f'{path} is not a file of {folder} itself')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.read_bytes().startswith(MARK.encode()):
            raise ValueError(
                f'{path} is a calibration that depth_pro_ros did not write: it is kept; move it '
                'away, or set another calibration_folder'
            )
        write_beside(path, calibration_text(name, camera))
    except OSError as error:
        raise ValueError(f'cannot write {path}: {error.strerror}') from error
    return path


def write_beside(path: Path, text: str) -> None:
    """Write a new file of a name that nobody can foresee, then rename it. Raises OSError."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}.')
    try:
        with open(handle, 'w') as file:
            file.write(text)
        os.chmod(aside, 0o644)  # drivers of other users read it
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def calibration_text(name: str, camera: Intrinsics) -> str:
    """Give the YAML of a pinhole camera."""
    fields = pinhole_fields(camera)
    return '\n'.join(
        [
            MARK,
            f'image_width: {camera.width}',
            f'image_height: {camera.height}',
            f'camera_name: {name}',
            *matrix('camera_matrix', 3, fields['k']),
            'distortion_model: plumb_bob',
            *matrix('distortion_coefficients', 1, fields['d']),
            *matrix('rectification_matrix', 3, fields['r']),
            *matrix('projection_matrix', 3, fields['p']),
            '',
        ]
    )


def matrix(name: str, rows: int, values: Sequence[float]) -> list[str]:
    """Give the lines of a matrix, row by row."""
    data = ', '.join(f'{value:.9g}' if value % 1 else f'{value:.1f}' for value in values)
    return [f'{name}:', f'  rows: {rows}', f'  cols: {len(values) // rows}', f'  data: [{data}]']
