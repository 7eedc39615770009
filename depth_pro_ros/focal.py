"""The focal length of a camera over time: estimates in, a value that no longer moves out.

A fixed lens has one focal length, while a network's estimate of it differs from frame to frame, and
all of the depth scales with it. Everything here is in logarithms of pixels: errors are relative.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from collections.abc import Hashable

NORMAL = 1.4826
"""Median absolute deviation -> standard deviation of a normal distribution."""


@dataclasses.dataclass(frozen=True)
class FocalSettings:
    """When a focal length counts as known, and when as changed."""

    least: int = 30
    """Estimates before a lock."""
    interval_s: float = 0.2
    """Least time between two that count: frames of one instant show the same view."""
    window: int = 120
    """Newest estimates that are looked at."""
    max_spread: float = 0.10
    """Relative spread of the estimates above which there is no lock."""
    max_drift: float = 0.03
    """Relative difference between the older and the newer half above which there is none."""
    jump: float = 0.15
    """Relative deviation from the known value that may be another lens; more where estimates
    scatter."""
    max_jump: float = 0.2
    """Most that it takes where there is a lock."""
    jumps: int = 5
    """Such deviations in a row, all to one side, that make it one."""
    jump_interval_s: float = 2.5
    """Least time between two of them: a strange view passes."""
    refinement: float = 0.04
    """Relative deviation of the median of `least` or more checks, beyond chance, from which on a
    lock is moved to it. The lock may be of a single view, of which all estimates are off alike."""
    more_views: float = 1.5
    """How much more than a lock's estimates such checks must scatter: they are of more views."""


@dataclasses.dataclass(frozen=True)
class FocalLock:
    """A focal length that settled."""

    focal_px: float
    spread: float
    """Robust relative standard deviation of the estimates that it is the median of."""


class FocalFilter:
    """Learns the focal length of one camera from estimates, locks it, and notices another lens."""

    def __init__(self, settings: FocalSettings | None = None) -> None:
        self._settings = settings or FocalSettings()
        self._camera: Hashable = None
        self._checked_s = -math.inf
        self.jumps = 0
        """How often the estimates jumped and were learned anew."""
        self.refinements = 0
        """How often a lock was moved to what its checks said."""
        self.relock()

    def relock(self) -> None:
        """Forget everything learned."""
        self._logs: collections.deque[float] = collections.deque(maxlen=self._settings.window)
        self._counted_s = -math.inf
        self._suspects: list[float] = []
        self._suspected_s = -math.inf
        self._checks: collections.deque[float] = collections.deque(maxlen=self._settings.window)
        """Estimates since there is a lock."""
        self.lock: FocalLock | None = None

    def use_camera(self, camera: Hashable) -> bool:
        """Say which camera the next estimate is of; another one (or another size) starts anew.

        Gives True where a lock was lost by that.
        """
        if camera == self._camera:
            return False
        self._camera, lost = camera, self.lock is not None
        self.relock()
        return lost

    def is_due(self, now_s: float, every_s: float, learn_every_s: float = 0.0) -> bool:
        """Tell whether an estimate is wanted: while learning, on suspicion, and now and then.

        now_s: any steady time. every_s: pause between checks of a lock; 0: a lock is not checked.
        learn_every_s: pause between estimates before there is a lock, where those cost something.
        """
        settings = self._settings
        if self._suspects:
            return now_s - self._suspected_s >= settings.jump_interval_s
        if self.lock is None:
            return now_s - self._counted_s >= max(settings.interval_s, learn_every_s)
        return every_s > 0.0 and now_s - self._checked_s >= every_s

    def observe(self, focal_px: float, now_s: float) -> None:
        """Take in an estimate, which must be positive and finite. A lock stays, or is lost.

        Estimates that follow each other too soon count as one.
        """
        value = math.log(focal_px)
        self._checked_s = now_s
        far = self._is_far(value)
        if far or self._suspects:
            self._suspect(value, far, now_s)
        if not far and self.lock is None and now_s - self._counted_s >= self._settings.interval_s:
            self._counted_s = now_s
            self._logs.append(value)
            self._try_lock()
        elif not far and self.lock is not None:
            self._checks.append(value)
            self._refine()

    def _suspect(self, value: float, far: bool, now_s: float) -> None:
        """Count deviations in a row; enough of them are another lens, which is learned anew."""
        if now_s - self._suspected_s < self._settings.jump_interval_s:
            return
        same_side = bool(self._suspects) and (value > self._center) == (
            self._suspects[-1] > self._center
        )
        self._suspected_s = now_s
        self._suspects = [*(self._suspects if same_side else []), value] if far else []
        if len(self._suspects) >= self._settings.jumps:
            suspects = self._suspects
            self.relock()
            self.jumps += 1
            self._logs.extend(suspects)

    @property
    def count(self) -> int:
        """Estimates that were taken in since the camera or the lens changed."""
        return len(self._logs)

    @property
    def spread(self) -> float:
        """Robust relative standard deviation of the estimates; 0 without any."""
        return _spread(self._logs) if self._logs else 0.0

    def __str__(self) -> str:
        if self.lock:
            state = f'locked at {self.lock.focal_px:.1f} px, spread {self.lock.spread:.1%}'
        else:
            state = f'learning, {self.count} estimates, spread {self.spread:.1%}'
        state += f', relearned {self.jumps} times' if self.jumps else ''
        return state + (f', refined {self.refinements} times' if self.refinements else '')

    @property
    def _center(self) -> float:
        return math.log(self.lock.focal_px) if self.lock else statistics.median(self._logs)

    def _is_far(self, value: float) -> bool:
        if len(self._logs) < self._settings.jumps:
            return False
        limit = max(self._settings.jump, 4.0 * self.spread)
        if self.lock is not None:
            limit = min(limit, self._settings.max_jump)
        return abs(value - self._center) > limit

    def _refine(self) -> None:
        count = len(self._checks)
        if self.lock is None or count < self._settings.least:
            return
        median, spread = statistics.median(self._checks), _spread(self._checks)
        off, chance = abs(median - self._center), 4.0 * spread / math.sqrt(count)
        more_views = spread > self._settings.more_views * self.lock.spread
        if more_views and off > max(self._settings.refinement, chance):
            self.lock = FocalLock(math.exp(median), spread)
            self._logs = self._checks.copy()
            self._checks.clear()
            self.refinements += 1

    def _try_lock(self) -> None:
        settings, count = self._settings, len(self._logs)
        if count < settings.least:
            return
        values = list(self._logs)
        older, newer = values[: count // 2], values[count // 2 :]
        drift = abs(statistics.median(newer) - statistics.median(older))
        if self.spread <= settings.max_spread and drift <= settings.max_drift:
            self.lock = FocalLock(math.exp(statistics.median(values)), self.spread)


def _spread(values: collections.deque[float]) -> float:
    center = statistics.median(values)
    return NORMAL * statistics.median(abs(value - center) for value in values)
