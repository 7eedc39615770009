"""Measure an estimator on a data set and write what was found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.evaluation.frame import Frame, NoDepthError, told
from depth_pro_ros.evaluation.score import FrameScore, score
from depth_pro_ros.evaluation.sheet import ContactSheet
from depth_pro_ros.evaluation.table import as_json, as_markdown, as_rich, make_rows
from depth_pro_ros.images import prepare_folder, write_aside, write_png

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
    each frame that failed, or one where no frame has anything to measure. Raises WriteError where
    `output` cannot be written, ImportError where a library is missing.
    """
    prepare_folder(output)
    scores: list[FrameScore] = []
    failures: list[str] = []
    without_depth: list[str] = []
    sheet = ContactSheet()
    try:
        for frame in tqdm(frames, unit='frame'):
            try:
                truth = frame.read()
                if truth.focal_px is None:
                    truth = dataclasses.replace(truth, focal_px=focal_px)
                prediction = estimator.predict(truth.rgb)
                found = score(frame, truth, prediction.depth_m, prediction.focal_px)
                sheet.add(found, truth, prediction.depth_m)
            except ImportError:  # not this frame's fault, but that of all
                raise
            except NoDepthError:
                without_depth.append(frame.name)
            except Exception as error:
                failures.append(f'{frame.name}: {told(error)}')
            else:
                scores.append(found)
    finally:
        if scores or failures or without_depth:
            if len(scores) < len(frames):
                title += f' ({len(scores)} of {len(frames)} frames)'
            write_report(scores, sheet, output, title, failures, without_depth)
    if not scores and not failures:
        failures.append('no frame has true depth within the limits')
    return failures


def write_report(
    scores: Sequence[FrameScore],
    sheet: ContactSheet,
    output: Path,
    title: str,
    failures: Sequence[str],
    without_depth: Sequence[str],
) -> None:
    """Write `evaluation.json`, `evaluation.md` and `evaluation.png`, then print the table.

    In this order, as a terminal that cannot show a letter must not cost the results.
    """
    rows = make_rows(scores)
    found = as_json(rows, scores, title)
    text = json.dumps(found | {'failures': failures, 'without_depth': without_depth}, indent=1)
    markdown = as_markdown(rows, title)
    write_aside(output / 'evaluation.json', lambda aside: aside.write_text(text, 'utf-8'))
    write_aside(output / 'evaluation.md', lambda aside: aside.write_text(markdown, 'utf-8'))
    write_png(output / 'evaluation.png', sheet.draw())
    table = as_rich(rows, title)
    console = Console()
    needed = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.width = max(console.width, needed)  # a pipe has no width, and figures must be whole
    console.print(table)
    if without_depth:
        console.print(f'frames without true depth within the limits: {len(without_depth)}')
