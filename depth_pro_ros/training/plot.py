"""A picture of how a training run went."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

SMOOTH = 0.9


def plot_metrics(metrics: Path, picture: Path) -> None:
    """Draw the losses of `metrics.jsonl` and what was measured after each stage."""
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in metrics.read_text().splitlines()]
    figure = Figure(figsize=(9, 6), layout='constrained')
    losses, measured = figure.subplots(2, 1)
    first = 0
    for stage in dict.fromkeys(e['stage'] for e in entries if 'step' in e):
        rows = [e for e in entries if e.get('stage') == stage and 'step' in e]
        steps = first + np.array([row['step'] for row in rows])
        losses.plot(steps, smooth([row['loss'] for row in rows]), label=f'stage {stage}')
        first = int(steps[-1]) + 10
    losses.set(xlabel='step', ylabel='loss, smoothed', yscale='log')
    losses.legend()
    scores: list[dict[str, Any]] = [e for e in entries if 'abs_rel' in e]
    names = [score['stage'] for score in scores]
    for key, style in (('delta1', 'o-'), ('abs_rel', 's-')):
        measured.plot(names, [score[key] for score in scores], style, label=key)
        for name, baseline in next(
            (e['baselines'] for e in entries if 'baselines' in e), {}
        ).items():
            measured.axhline(baseline[key], ls=':', lw=1, color='grey')
            measured.annotate(f'{key}, {name}', (0, baseline[key]), fontsize=7, color='grey')
    measured.set(ylabel='held out', ylim=(0, 1))
    measured.legend()
    figure.savefig(picture, dpi=110)


def smooth(values: list[float]) -> np.ndarray:
    """Give the exponential running mean, which begins at the first value; NaN and Inf pass by."""
    out, mean = [], math.nan
    for value in values:
        if math.isfinite(value):
            mean = value if math.isnan(mean) else SMOOTH * mean + (1 - SMOOTH) * value
        out.append(mean)
    return np.array(out)
