"""Figures averaged over frames and sources, as one table: terminal, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from depth_pro_ros.evaluation import metrics
from depth_pro_ros.evaluation.metrics import DepthErrors
from depth_pro_ros.evaluation.published import published
from depth_pro_ros.evaluation.score import FrameScore

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = {
    'abs_rel': ('AbsRel', 1, 3),
    'log10': ('log10', 1, 3),
    'rmse_m': ('RMSE m', 1, 2),
    'si_log': ('SI-log', 1, 1),
    'delta1': ('δ1 %', 100, 1),
    'delta2': ('δ2 %', 100, 1),
    'delta3': ('δ3 %', 100, 1),
    'boundary_f1': ('edge F1', 1, 3),
    'boundary_recall': ('edge R', 1, 3),
    'focal_25': ('f 25%', 100, 0),
    'focal_50': ('f 50%', 100, 0),
}
"""Figure -> its heading, what it is multiplied with, and its decimals."""

MEAN = 'mean of sources'
JUSTIFY: dict[str, Literal['left']] = {'source': 'left', 'depth': 'left'}
"""Columns of words; those of figures are flush right."""

Figures = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    source: str
    answer: str
    """Whose depth, and with which focal length or scale."""
    figures: Figures
    """Of COLUMNS; what is absent or NaN does not apply."""
    frames: int | None = None
    """How many; None for what a paper says."""


def make_rows(scores: Sequence[FrameScore]) -> list[Row]:
    """Give the lines of every source, their mean where there are several, and the paper's."""
    sources = list(dict.fromkeys(score.source for score in scores))
    rows = []
    for source in sources:
        of_source = [score for score in scores if score.source == source]
        own = source_rows(source, of_source)
        rows += own + [Row(source, answer, row) for answer, row in published(source).items()]
    if len(sources) > 1:
        measured = [row for row in rows if row.frames is not None]
        for answer in dict.fromkeys(row.answer for row in measured):
            same = [row for row in measured if row.answer == answer]
            mean = mean_figures([row.figures for row in same])
            rows.append(Row(MEAN, answer, mean, sum(row.frames or 0 for row in same)))
    return rows


def source_rows(source: str, scores: Sequence[FrameScore]) -> list[Row]:
    """Average the frames of one source.

    Below the network's answers, what a constant depth scores that knows the median true depth of
    the source, or of each frame: who is not better has understood nothing of the pictures.
    """
    constant_m = float(np.median(np.concatenate([score.true_sample_m for score in scores])))
    answers: dict[str, Callable[[FrameScore], Figures]] = {
        'own focal': lambda s: as_figures(s.own) | figures_of_any_scale(s),
        'true focal': lambda s: as_figures(s.given),
        'median-scaled': lambda s: as_figures(s.scaled),
        'constant, source': lambda s: constant_figures(s, constant_m),
        'constant, frame': lambda s: constant_figures(s, None),
    }
    return [
        Row(source, answer, mean_figures([figures(score) for score in scores]), len(scores))
        for answer, figures in answers.items()
    ]


def as_figures(errors: DepthErrors | None) -> Figures:
    """Name the errors of a frame, none where they could not be computed."""
    return dataclasses.asdict(errors) if errors else {}


def figures_of_any_scale(score: FrameScore) -> Figures:
    """Give what neither the focal length nor the scale of depth changes."""
    figures = {'boundary_f1': score.boundary_f1, 'boundary_recall': score.boundary_recall}
    if score.true_focal_px:
        error = metrics.focal_error(score.focal_px, score.true_focal_px)
        figures |= {'focal_25': float(error < 0.25), 'focal_50': float(error < 0.5)}
    return figures


def constant_figures(score: FrameScore, depth_m: float | None) -> Figures:
    """Measure the answer 'everything is at `depth_m`' (None: at the frame's own median)."""
    true = score.true_sample_m
    answer = np.full(true.shape, np.median(true) if depth_m is None else depth_m)
    return dataclasses.asdict(metrics.depth_errors(np.clip(answer, *score.limits_m), true))


def mean_figures(figures: Sequence[Figures]) -> Figures:
    """Average each figure over those that have it."""
    names = [name for name in COLUMNS if any(name in each for each in figures)]
    values = {name: [each.get(name, math.nan) for each in figures] for name in names}
    return {
        name: float(np.nanmean(column)) if not np.isnan(column).all() else math.nan
        for name, column in values.items()
    }


def as_text(rows: Sequence[Row]) -> list[list[str]]:
    """Give the table as text: the headings, then line by line; '-' where a figure does not apply.

    A source is named in its first line only. Columns without a figure are left out.
    """
    names = [name for name in COLUMNS if any(not is_nan(row.figures.get(name)) for row in rows)]
    lines = [['source', 'frames', 'depth', *(COLUMNS[name][0] for name in names)]]
    for previous, row in zip([None, *rows], rows, strict=False):
        first = previous is None or previous.source != row.source
        line = [row.source, str(row.frames)] if first else ['', '']
        lines.append(line + [row.answer] + [cell(name, row.figures.get(name)) for name in names])
    return lines


def cell(name: str, value: float | None) -> str:
    """Write one figure."""
    _, factor, decimals = COLUMNS[name]
    return '-' if is_nan(value) else f'{factor * value:.{decimals}f}'  # type: ignore[operator]


def is_nan(value: float | None) -> bool:
    """Tell whether there is no figure."""
    return value is None or math.isnan(value)


def as_rich(rows: Sequence[Row], title: str) -> Table:
    """Draw the table for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    head, *lines = as_text(rows)
    caption = Text(title, 'table.title')  # names are no markup, whatever brackets they have
    table = Table(title=caption, title_justify='left', box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in head:
        table.add_column(heading, no_wrap=True, justify=JUSTIFY.get(heading, 'right'))
    for row, line in zip(rows, lines, strict=True):
        if line[0] and table.rows:
            table.add_section()
        table.add_row(*map(Text, line), style='dim' if row.frames is None else None)
    return table


def as_markdown(rows: Sequence[Row], title: str) -> str:
    """Write the table as Markdown."""
    head, *lines = as_text(rows)
    rule = ['---' if heading in JUSTIFY else '---:' for heading in head]
    table = ['| ' + ' | '.join(line) + ' |' for line in [head, rule, *lines]]
    return '\n'.join([f'# {title}', '', *table, ''])


def as_json(rows: Sequence[Row], scores: Sequence[FrameScore], title: str) -> dict[str, Any]:
    """Give the table and the figures of every frame for JSON; null where none applies."""
    frames = []
    for score in scores:
        fields = dataclasses.asdict(score)
        del fields['true_sample_m']
        frames.append(fields)
    table = [dataclasses.asdict(row) for row in rows]
    return without_nan({'title': title, 'rows': table, 'frames': frames})


def without_nan(value: Any) -> Any:
    """Put None, which JSON has, in the place of NaN, which it has not."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
