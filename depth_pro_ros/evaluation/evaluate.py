"""Measure an estimator on a data set and write what was found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from depth_pro_ros.estimator import DepthEstimator, OutOfMemoryError
from depth_pro_ros.evaluation.frame import DataError, Frame
from depth_pro_ros.evaluation.score import FrameScore, score
from depth_pro_ros.evaluation.sheet import ContactSheet
from depth_pro_ros.evaluation.table import as_json, as_markdown, as_rich, make_rows
from depth_pro_ros.images import ImageError, prepare_folder, write_aside, write_png

BAD_FRAME = (
    DataError,
    ImageError,
    OSError,
    EOFError,
    OutOfMemoryError,
    ValueError,
    ArithmeticError,
)
"""What one frame can be at fault for; the others are measured all the same."""
WIDEST = 300
"""Columns of text that a table may take."""


def evaluate(
    estimator: DepthEstimator,
    frames: Sequence[Frame],
    output: Path,
    title: str,
    focal_px: float | None = None,
) -> list[str]:
    """Score every frame; print a table, and write it to `output` as .md and .json with a sheet.

    focal_px: the true one of frames that do not tell.
    What was measured before an interruption is written all the same. Returns one message for
    each frame that failed. Raises WriteError where `output` cannot be written.
    """
    prepare_folder(output)
    scores: list[FrameScore] = []
    failures: list[str] = []
    sheet = ContactSheet()
    try:
        for frame in tqdm(frames, unit='frame'):
            try:
                truth = frame.read()
                if truth.focal_px is None:
                    truth = dataclasses.replace(truth, focal_px=focal_px)
                prediction = estimator.predict(truth.rgb)
                found = score(frame, truth, prediction.depth_m, prediction.focal_px)
            except BAD_FRAME as error:
                failures.append(f'{frame.name}: {error}')
                continue
            scores.append(found)
            sheet.add(found, truth, prediction.depth_m)
    finally:
        if scores:
            if len(scores) < len(frames):
                title += f' ({len(scores)} of {len(frames)} frames)'
            write_report(scores, sheet, output, title)
    return failures


def write_report(
    scores: Sequence[FrameScore], sheet: ContactSheet, output: Path, title: str
) -> None:
    """Print the table, and write `evaluation.md`, `evaluation.json` and `evaluation.png`."""
    rows = make_rows(scores)
    table = as_rich(rows, title)
    console = Console()
    needed = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.width = max(console.width, needed)  # a pipe has no width, and figures must be whole
    console.print(table)
    text = json.dumps(as_json(rows, scores, title), indent=1)
    markdown = as_markdown(rows, title)
    write_aside(output / 'evaluation.json', lambda aside: aside.write_text(text))
    write_aside(output / 'evaluation.md', lambda aside: aside.write_text(markdown))
    write_png(output / 'evaluation.png', sheet.draw())
