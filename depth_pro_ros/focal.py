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
    window: int = 120
    """Newest estimates that are looked at."""
    max_spread: float = 0.10
    """Relative spread of the estimates above which there is no lock."""
    max_drift: float = 0.03
    """Relative difference between the older and the newer half above which there is none."""
    jump: float = 0.15
    """Relative deviation from the known value that may be another lens."""
    jumps: int = 5
    """Such deviations in a row, all to one side, that make it one."""


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
        self.relock()

    def relock(self) -> None:
        """Forget everything learned."""
        self._logs: collections.deque[float] = collections.deque(maxlen=self._settings.window)
        self._suspects: list[float] = []
        self.lock: FocalLock | None = None

    def use_camera(self, camera: Hashable) -> None:
        """Say which camera the next estimate is of; another one (or another size) starts anew."""
        if camera != self._camera:
            self._camera = camera
            self.relock()

    def is_due(self, now_s: float, every_s: float) -> bool:
        """Tell whether an estimate is wanted: while learning, on suspicion, and now and then.

        now_s: any steady time. every_s: pause between checks of a lock; 0: a lock is not checked.
        """
        if self.lock is None or self._suspects:
            return True
        return every_s > 0.0 and now_s - self._checked_s >= every_s

    def observe(self, focal_px: float, now_s: float) -> None:
        """Take in an estimate, which must be positive and finite. A lock stays, or is lost."""
        value = math.log(focal_px)
        self._checked_s = now_s
        if self._is_far(value):
            same_side = not self._suspects or (value > self._center) == (
                self._suspects[-1] > self._center
            )
            self._suspects = [*self._suspects, value] if same_side else [value]
            if len(self._suspects) >= self._settings.jumps:
                suspects = self._suspects
                self.relock()
                self.jumps += 1
                self._logs.extend(suspects)
            return
        self._suspects = []
        if self.lock is None:
            self._logs.append(value)
            self._try_lock()

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
        return state + (f', relearned {self.jumps} times' if self.jumps else '')

    @property
    def _center(self) -> float:
        return math.log(self.lock.focal_px) if self.lock else statistics.median(self._logs)

    def _is_far(self, value: float) -> bool:
        if len(self._logs) < self._settings.jumps:
            return False
        return abs(value - self._center) > max(self._settings.jump, 4.0 * self.spread)

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
