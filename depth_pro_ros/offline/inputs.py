"""What a user names on the command line: pictures, numbered sequences of them, and videos."""

from __future__ import annotations

import dataclasses
import functools
import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from depth_pro_ros.images import PICTURES
from depth_pro_ros.network.weights import file_stamp

VIDEOS = {'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.ts', '.webm', '.wmv'}
ENDINGS = {*PICTURES, '.avif', '.gif', '.heic', '.heif', '.pgm', '.ppm', *VIDEOS}
"""File name endings that a folder is searched for, though not every OpenCV reads all of them: it is
better to say so than to pass a picture over."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A file, and under which name its results are written."""

    path: Path
    name: str

    @property
    def key(self) -> str:
        """Tell it from all other files, wherever the command is run."""
        return file_key(self.path)

    @functools.cached_property
    def stamp(self) -> str:
        """Tell what the file holds from what it may hold later. Raises OSError."""
        return file_stamp(self.path)


@dataclasses.dataclass(frozen=True)
class Clip:
    """Files of one camera: a single picture, a numbered sequence of pictures, or one video."""

    sources: tuple[Source, ...]

    @property
    def is_video(self) -> bool:
        """Tell whether it is a video file."""
        return self.sources[0].path.suffix.lower() in VIDEOS


def file_key(path: Path) -> str:
    """Give the path of a file as records name it: absolute, but as the user sees it."""
    return os.path.abspath(path)


def find_clips(inputs: Sequence[str | Path], output: Path) -> tuple[list[Clip], list[str]]:
    """Find the files of `inputs`: files, folders (not what lies deeper) and glob patterns.

    Pictures of one folder, size and type whose names differ only in the number at their end are
    one clip. Returns the clips in order, and a message for each input without a file.
    """
    paths: dict[Path, None] = {}  # a set that keeps the order
    failures = []
    for given in inputs:
        found = expand(Path(given))
        if not found:
            failures.append(f'{given}: no pictures or videos there')
        elif found != [Path(given)] and output.resolve() in folders_of(found):
            failures.append(
                f'{given}: this is where results go, and they would be taken for pictures; '
                'choose another --output'
            )
        else:
            paths |= dict.fromkeys(found)
    clips: dict[object, list[Source]] = {}
    for path, name in zip(paths, unique_names(list(paths)), strict=True):
        clips.setdefault(clip_key(path), []).append(Source(path, name))
    return [Clip(tuple(sources)) for sources in clips.values()], failures


def folders_of(paths: Sequence[Path]) -> set[Path]:
    """Give the folders that files lie right in."""
    return {folder.resolve() for folder in {path.parent for path in paths}}


def expand(given: Path) -> list[Path]:
    """Give the files of a folder or a pattern, in the order of their numbers; a file as it is."""
    if given.is_dir():
        found = [path for path in given.iterdir() if path.suffix.lower() in ENDINGS]
    elif not given.exists() and glob.has_magic(str(given)):
        found = [Path(name) for name in glob.glob(str(given), recursive=True)]
    else:
        return [given]
    files = [path for path in found if path.is_file() and not path.name.startswith('.')]
    return sorted(files, key=natural_order)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort by the numbers in a name: frame_9 before frame_10."""
    parts = re.split(r'(\d+)', str(path))
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]


def clip_key(path: Path) -> object:
    """Give what the pictures of one sequence have in common; a file of its own gives itself."""
    numbered = re.fullmatch(r'(.*?)\d+', path.stem)
    if numbered is None or path.suffix.lower() in VIDEOS:
        return path
    try:
        with Image.open(path) as image:
            size = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return path  # reported when it is its turn
    return path.parent, numbered[1], path.suffix, size


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Give each path a name for its results: its stem, with folder and ending where two clash."""
    stems = Counter(path.stem for path in paths)
    longer = [
        path.stem
        if stems[path.stem] == 1
        else '_'.join([path.parent.name, path.stem, path.suffix[1:]]).strip('_')
        for path in paths
    ]
    counts, taken, names = Counter(longer), set(longer), []
    for name in longer:
        if counts[name] > 1:
            numbered = (f'{name}_{index}' for index in itertools.count())
            name = next(each for each in numbered if each not in taken)
        taken.add(name)
        names.append(name)
    return names
