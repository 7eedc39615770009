"""What the files of one run share, and how a finished file is told from an unfinished one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from depth_pro_ros.camera import Intrinsics, fov_from_focal
from depth_pro_ros.estimator import DepthEstimator, OutOfMemoryError
from depth_pro_ros.images import ImageError, exif_focal_px
from depth_pro_ros.offline.inputs import Source, file_key
from depth_pro_ros.offline.outputs import Range, beside, read_record
from depth_pro_ros.offline.summary import Record

BAD_FILE = (ImageError, OutOfMemoryError, ValueError, ArithmeticError)
"""What one file can be at fault for; the others are done all the same."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a user asks for."""

    weights: str
    """As the user names them; results of others, or of another file of that name, are made anew."""
    focal_px: float | None = None
    """Of every picture; None: its EXIF data, else the network."""
    per_frame_focal: bool = False
    """Whether every frame of a clip has a focal length of its own."""
    formats: tuple[str, ...] | None = None
    """Of outputs.WRITERS; None: what suits a picture, and of a video the video alone."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of `estimate_files`."""

    estimator: DepthEstimator
    output: Path
    settings: Settings
    bar: tqdm[Any]

    @property
    def recipe(self) -> dict[str, Any]:
        """Give what the numbers in a result depend on, for its record."""
        settings = dataclasses.asdict(self.settings)
        del settings['formats']
        estimator = self.estimator
        return settings | {
            'precision': estimator.precision,
            'weights_stamp': estimator.weights_stamp,
        }

    def record_path(self, source: Source) -> Path:
        """Give where the record of a picture lies; it is written last."""
        return beside(self.output / source.name, '.json')

    def finished(self, source: Source, record_path: Path) -> Record | None:
        """Give the record of a file that was done before, the same way and not changed since."""
        try:
            stamp = source.stamp
        except OSError:
            return None
        record = read_record(record_path)
        if record is None:
            return None
        made = record.get('input_stamp'), record.get('recipe')
        return record if made == (stamp, self.recipe) else None

    def known_focal(self, path: Path) -> tuple[float | None, str]:
        """Give the focal length that is known of a picture, and who says so."""
        if self.settings.focal_px is not None:
            return self.settings.focal_px, 'given'
        focal_px = exif_focal_px(path)
        return focal_px, 'EXIF' if focal_px is not None else 'network'

    def report(self, record: Record) -> None:
        """Say a line about a finished file, above the progress bar."""
        self.bar.write(
            f'{record["input"]}: {record["near_m"]:.2f} to {record["far_m"]:.2f} m, focal length '
            f'{record["fx"]:.0f} px, {record["fov_deg"]:.0f} deg ({record["focal_source"]})'
        )


def make_record(
    run: Run, source: Source, camera: Intrinsics, range_m: Range, focal_source: str
) -> Record:
    """Give what is worth knowing of a picture or video: its camera, and the range of its depth."""
    return {
        'input': source.key,
        'input_stamp': source.stamp,
        'status': 'done',
        **dataclasses.asdict(camera),
        'fov_deg': fov_from_focal(camera.fx, camera.width),
        'focal_source': focal_source,
        'near_m': range_m[0],
        'far_m': range_m[1],
        'recipe': run.recipe,
    }


def failed(path: Path, error: Exception) -> Record:
    """Give the record of a file that could not be done."""
    message = str(error)
    named = message if str(path) in message else f'{path}: {message}'
    return {'input': file_key(path), 'status': 'failed', 'error': named}


def failures_of(record: Record) -> list[str]:
    """Give what failed in a file: all of it, or frames of a video."""
    if record['status'] == 'failed':
        return [record['error']]
    return list(record.get('frame_errors', {}).values())


Records = Iterator[Record]
"""Of one clip, each as soon as its file is finished."""
