"""Depth, boundary and focal-length metrics: pure functions on NumPy arrays.

Depths are metres, NaN where unknown. The boundary metrics follow the paper (arXiv 2410.02073,
section 3.2 and appendix C.6), the others its appendix A.2 and the sources named there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FAR_M = 1e4
"""Where the network answers 'too far' (+Inf): the depth at which it clamps (sky)."""
BOUNDARY_RATIOS = np.linspace(1.05, 1.25, 10)
"""Neighbouring depths that differ by more are an occluding contour; weighted by themselves."""
MIN_KNOWN_SHARE = 0.5
"""With fewer neighbouring pixels known (LiDAR), a truth does not tell where contours are."""
MASK_ALPHA = 0.1
"""Alpha above which a pixel of a matte is foreground (paper, section 4)."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class DepthErrors:
    """Errors of one depth map over the pixels whose true depth is known."""

    abs_rel: float
    """Mean of |predicted - true| / true."""
    log10: float
    """Mean of |log10 predicted - log10 true|."""
    rmse_m: float
    """Root of the mean squared error, in metres."""
    si_log: float
    """100 x standard deviation of the log error: what is left when the best scale is given."""
    delta1: float
    """Share of pixels within a factor of 1.25, of 1.25^2 and of 1.25^3."""
    delta2: float
    delta3: float


def depth_errors(predicted_m: Floats, true_m: Floats) -> DepthErrors:
    """Compare positive depths of the same pixels, given as two arrays of the same shape."""
    predicted = np.asarray(predicted_m, np.float64)
    true = np.asarray(true_m, np.float64)
    if predicted.shape != true.shape or not true.size:
        raise ValueError(f'no two depths to compare: {predicted.shape} and {true.shape}')
    log_error = np.log(predicted) - np.log(true)
    size = np.abs(log_error)
    within = [float((size < k * np.log(1.25)).mean()) for k in (1, 2, 3)]
    return DepthErrors(
        abs_rel=float((np.abs(predicted - true) / true).mean()),
        log10=float(size.mean() / np.log(10.0)),
        rmse_m=float(np.sqrt(((predicted - true) ** 2).mean())),
        si_log=float(100.0 * log_error.std()),
        delta1=within[0],
        delta2=within[1],
        delta3=within[2],
    )


def median_scale(predicted_m: Floats, true_m: Floats) -> float:
    """Give the factor that makes the median depth right (Zhou et al., arXiv 1704.07813)."""
    return float(np.median(true_m) / np.median(predicted_m))


def focal_error(predicted_px: float, true_px: float) -> float:
    """Give the relative error of a focal length; the paper counts those below 0.25 and 0.5."""
    return abs(predicted_px - true_px) / true_px


def boundary_f1(predicted_m: Floats, true_m: Floats) -> float:
    """Give how well occluding contours agree: (H, W) against (H, W) -> 0 to 1, scale-invariant.

    F1 of the precision and the recall, each the mean over four directions, at ten ratios of
    neighbouring depths. Pairs with an unknown depth are left out; NaN where most are unknown.
    """
    counts = np.zeros((4, 3, len(BOUNDARY_RATIOS)))
    known = []
    for i, (predicted, true) in enumerate(zip(_ratios(predicted_m), _ratios(true_m), strict=True)):
        both = np.isfinite(true) & np.isfinite(predicted)
        known.append(both.mean())
        predicted, true = predicted[both], true[both]
        # both above t <=> the smaller above t
        for j, ratio in enumerate((predicted, true, np.minimum(predicted, true))):
            counts[i, j] = _counts_above(ratio)
    if np.mean(known) < MIN_KNOWN_SHARE:
        return float('nan')
    found, wanted, hits = counts[:, 0], counts[:, 1], counts[:, 2]
    precision = (hits / np.maximum(found, 1)).mean(axis=0)
    recall = (hits / np.maximum(wanted, 1)).mean(axis=0)
    return _weighted(2 * precision * recall / np.maximum(precision + recall, 1e-12))


def boundary_recall(predicted_m: Floats, alpha: Floats) -> float:
    """Give the share of a mask's outline that depth has a contour on: (H, W) and (H, W) in 0..1.

    Contours are thinned to the strongest step of each run, so that soft edges count as missing.
    """
    mask = alpha > MASK_ALPHA
    outlines = (
        (mask[:, 1:] & ~mask[:, :-1], mask[:, :-1] & ~mask[:, 1:])
        + (mask[1:] & ~mask[:-1], mask[:-1] & ~mask[1:])
    )  # fmt: skip
    recall = np.zeros(len(BOUNDARY_RATIOS))
    for i, (ratio, outline) in enumerate(zip(_ratios(predicted_m), outlines, strict=True)):
        rows = i < 2
        steps, wanted = (ratio, outline) if rows else (ratio.T, outline.T)
        for j, threshold in enumerate(BOUNDARY_RATIOS):
            hits = _strongest_of_runs(steps, threshold) & wanted
            recall[j] += hits.sum() / max(int(wanted.sum()), 1) / 4
    return _weighted(recall)


def _ratios(depth_m: Floats) -> Iterator[Floats]:
    """Give how many times nearer a pixel is than its left, right, upper and lower neighbour."""
    near, far = depth_m[:, 1:], depth_m[:, :-1]
    yield far / near  # (H, W-1), in the order of `boundary_recall`'s outlines
    yield near / far
    near, far = depth_m[1:], depth_m[:-1]
    yield far / near  # (H-1, W)
    yield near / far


def _counts_above(ratio: Floats) -> NDArray[np.int64]:
    """Count the values above each of the ratios of a boundary."""
    steps = np.sort(ratio[ratio > BOUNDARY_RATIOS[0]])
    return len(steps) - np.searchsorted(steps, BOUNDARY_RATIOS, side='right')


def _strongest_of_runs(ratio: Floats, threshold: float) -> Bools:
    """Keep, of each run of values above the threshold along a row, the (first) largest."""
    above = np.zeros((ratio.shape[0], ratio.shape[1] + 1), bool)  # a gap between rows
    above[:, :-1] = ratio > threshold
    kept = np.zeros_like(above)
    places = np.flatnonzero(above)
    if places.size:
        rows, columns = np.divmod(places, above.shape[1])
        run = np.cumsum(np.diff(places, prepend=places[0]) > 1)
        strongest_first = np.lexsort((places, -ratio[rows, columns], run))
        first_of_run = np.unique(run[strongest_first], return_index=True)[1]
        kept.flat[places[strongest_first[first_of_run]]] = True
    return kept[:, :-1]


def _weighted(per_ratio: Floats) -> float:
    """Average over the ratios, the larger ones with more weight."""
    return float((per_ratio * BOUNDARY_RATIOS).sum() / BOUNDARY_RATIOS.sum())
