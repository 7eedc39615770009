"""Writes depth in the formats that a user chooses, each beside its intrinsics."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics, depth_to_millimetres, unproject
from depth_pro_ros.estimator import DepthPrediction
from depth_pro_ros.images import (
    depth_picture,
    write_aside,
    write_npz,
    write_ply,
    write_png,
)

Range = tuple[float, float]
"""Nearest and farthest depth of the colours, in metres."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The depth of one picture, ready to be written."""

    rgb: NDArray[np.uint8]
    prediction: DepthPrediction
    colours_m: Range | None
    """None: the picture's own."""

    @property
    def intrinsics(self) -> Intrinsics:
        """Give the camera that the depth was scaled with."""
        height, width = self.prediction.depth_m.shape
        return Intrinsics.from_focal(self.prediction.focal_px, width, height)


def _write_npz(path: Path, result: Result) -> None:
    prediction = result.prediction
    write_npz(
        path,
        depth_m=prediction.depth_m,
        focal_px=prediction.focal_px,
        fov_deg=prediction.fov_deg,
    )


def _write_png16(path: Path, result: Result) -> None:
    write_png(path, depth_to_millimetres(result.prediction.depth_m))


def _write_png(path: Path, result: Result) -> None:
    write_png(path, depth_picture(result.prediction.depth_m, result.colours_m))


def _write_ply(path: Path, result: Result) -> None:
    write_ply(path, unproject(result.prediction.depth_m, result.intrinsics), result.rgb)


def _write_exr(path: Path, result: Result) -> None:
    import OpenEXR

    header = {'compression': OpenEXR.ZIP_COMPRESSION, 'type': OpenEXR.scanlineimage}
    image = OpenEXR.File(header, {'Z': result.prediction.depth_m})

    def write(aside: Path) -> None:
        try:
            image.write(str(aside))
        except RuntimeError as error:  # a full disk, for instance
            raise OSError(str(error)) from error

    write_aside(path, write)


WRITERS: dict[str, tuple[str, Callable[[Path, Result], None]]] = {
    'npz': ('.npz', _write_npz),
    'png16': ('_mm.png', _write_png16),
    'png': ('_depth.png', _write_png),
    'exr': ('.exr', _write_exr),
    'ply': ('.ply', _write_ply),
}
"""Format -> the ending of its files, and what writes them."""

PICTURE_FORMATS = ('npz', 'png16', 'png', 'ply')
"""Written for a picture where the user chooses none."""


def check_formats(formats: Sequence[str]) -> None:
    """Raise ModuleNotFoundError before anything is computed where a format lacks its library."""
    if 'exr' in formats:
        import OpenEXR  # noqa: F401


def beside(stem: Path, ending: str) -> Path:
    """Give the path of a result: the stem may have dots of its own."""
    return stem.with_name(stem.name + ending)


def write_result(stem: Path, formats: Sequence[str], result: Result) -> None:
    """Write the chosen formats; raises WriteError."""
    for name in formats:
        ending, write = WRITERS[name]
        write(beside(stem, ending), result)


def remove_results(stem: Path, formats: Sequence[str]) -> None:
    """Remove what was made in another way, lest it lies beside what contradicts it."""
    for name in formats:
        beside(stem, WRITERS[name][0]).unlink(missing_ok=True)


def have_all(stem: Path, formats: Sequence[str]) -> bool:
    """Tell whether every chosen format is there; files are whole once they have their name."""
    return all(beside(stem, WRITERS[name][0]).is_file() for name in formats)


def vouches(record: dict[str, Any], formats: Sequence[str]) -> bool:
    """Tell whether the files of the chosen formats are the record's, not made in another way."""
    return {*formats} <= {*record.get('formats', ())}


def all_formats(formats: Sequence[str], before: dict[str, Any] | None) -> list[str]:
    """Give what a record vouches for: the formats written now, and those of the record before."""
    return sorted({*formats, *(before or {}).get('formats', ())})


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write the intrinsics and all that is worth knowing of a result as JSON."""
    text = json.dumps(record, indent=1)
    write_aside(path, lambda aside: aside.write_text(text + '\n'))


def read_record(path: Path) -> dict[str, Any] | None:
    """Give what `write_record` wrote, or None where there is nothing that can be read."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
