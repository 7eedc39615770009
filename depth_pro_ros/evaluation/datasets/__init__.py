"""Published data sets, each read as its publisher lays it out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from depth_pro_ros.evaluation.frame import DataError, Frame

LOADERS = {
    'frames': 'frames.json beside pictures and depth PNGs',
}
"""Module of this package, whose find(root) gives the frames -> what lies in the folder."""


def find_frames(root: Path, name: str = 'auto', limit: int | None = None) -> Sequence[Frame]:
    """Give the frames of the data set in the folder `root`.

    name: one of LOADERS; `auto` takes the first whose layout fits. limit: how many, evenly chosen.
    Raises DataError where none does.
    """
    if not root.is_dir():
        raise DataError(f'no folder {root}')
    if name not in ('auto', *LOADERS):
        raise DataError(f"no data set '{name}': use auto, {', '.join(LOADERS)}")
    for module_name in LOADERS if name == 'auto' else [name]:
        module = importlib.import_module(f'{__name__}.{module_name}')
        frames: Sequence[Frame] = module.find(root)
        if frames:
            return frames[:: -(-len(frames) // limit)] if limit else frames
    wanted = {name: LOADERS[name]} if name in LOADERS else LOADERS
    layouts = '\n'.join(f'  {key:12}{layout}' for key, layout in wanted.items())
    raise DataError(f'{root} has none of the layouts that are known:\n{layouts}')
