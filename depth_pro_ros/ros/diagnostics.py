"""What the node knows of its own health, as diagnostic_msgs."""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
import threading
import time

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
WINDOW = 100
"""Frames that rates, latency and age are taken over, at most."""
ENOUGH = 20
"""Images before a share of them is told."""
RECENT_S = 30.0
"""How old such a frame may be, lest a pause counts; two are kept, for what is slower than that."""
MEMORY_S = 10.0
"""How long a problem is reported after it was last seen."""
LONGEST_MEMORY_S = 60.0
"""The same of what comes back less often, such as with every frame of a slow computer."""
APART_S = 60.0
"""Age of an image from which on clocks that differ are more likely than a delay."""
MAX_PROBLEMS = 32
"""Causes that are kept, so that no peer can fill the memory with new ones."""


@dataclasses.dataclass
class Problem:
    """One cause of trouble, however often it came."""

    level: bytes
    message: str
    seen_s: float
    logged_s: float
    count: int = 1
    memory_s: float = MEMORY_S


class Health:
    """Counts frames and problems of the node or of a camera; any thread may call its methods."""

    def __init__(self, node: str, camera: str = '', counts: bool = True) -> None:
        """node, camera: their names, of which the names of the statuses are made.

        counts: whether it shows rates and counts; those of a node with named cameras are theirs.
        """
        self._counts = counts
        self._name = f'{node}: {camera} ' if camera else f'{node}: '
        self._lock = threading.Lock()
        self._inputs: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._outputs: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._latencies: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._ages: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._problems: dict[str, Problem] = {}
        self._facts: dict[str, str] = {}
        self.state = 'unconfigured'
        self.trouble: str | None = None
        """What keeps everything from working, for as long as it is not None."""
        self.troubles = 1
        """How often in a row it came."""
        self.frames_in = self.frames_out = self.frames_dropped = 0
        self._arrivals: collections.deque[bool] = collections.deque(maxlen=WINDOW)
        """Of the newest images: whether each came, or was lost on the way."""
        self._missed = 0

    def frame_in(self, replaced: bool) -> None:
        """Count a received image; `replaced`: an older one was dropped for it."""
        with self._lock:
            remember(time.monotonic(), self._inputs)
            self.frames_in += 1
            self.frames_dropped += replaced

    def image_came(self) -> None:
        """Count an image that came, whatever becomes of it."""
        with self._lock:
            self._arrivals.append(True)

    def images_missed(self, count: int) -> float:
        """Count images that the middleware lost on the way; gives their share of late.

        It is 0 until that can be told.
        """
        with self._lock:
            self._missed += count
            self._arrivals.extend([False] * min(count, WINDOW))
            images = len(self._arrivals)
            return self._arrivals.count(False) / images if images >= ENOUGH else 0.0

    def frame_lost(self) -> None:
        """Count an image that will not be answered."""
        with self._lock:
            self.frames_dropped += 1

    def frame_out(self, latency_s: float, age_s: float) -> None:
        """Count an answered image, with its time in the worker and the age of its stamp."""
        with self._lock:
            self._latencies.append(latency_s)
            self._ages.append(age_s)
            remember(time.monotonic(), self._outputs, self._latencies, self._ages)
            self.frames_out += 1

    def fact(self, name: str, value: str) -> None:
        """Keep a value to show, such as the device or the focal length."""
        with self._lock:
            self._facts[name] = value

    def problem(self, cause: str, message: str, level: bytes = WARN) -> bool:
        """Note a problem; True where it should be logged: when new, then every MEMORY_S."""
        now = time.monotonic()
        with self._lock:
            known = self._problems.get(cause)
            gap_s = 0.0 if known is None else now - known.seen_s
            memory_s = min(max(MEMORY_S, 2.0 * gap_s), LONGEST_MEMORY_S)
            if known is None or gap_s > known.memory_s:
                self._forget(now)
                self._problems[cause] = Problem(level, message, now, now, memory_s=memory_s)
                return True
            known.level, known.message, known.seen_s = level, message, now
            known.memory_s = memory_s
            known.count += 1
            if due := now - known.logged_s > MEMORY_S:
                known.logged_s = now
            return due

    def _forget(self, now: float) -> None:
        """Make room for one more problem."""
        oldest = sorted(self._problems, key=lambda cause: self._problems[cause].seen_s)
        for cause in oldest[: max(0, len(oldest) - MAX_PROBLEMS + 1)]:
            del self._problems[cause]

    def statuses(self) -> list[DiagnosticStatus]:
        """Give a status of the whole and one more for each problem that there ever was.

        What was not seen for its `memory_s` is OK again: a status that is not sent any more would
        be stale, which an aggregator shows as an error.
        """
        now = time.monotonic()
        with self._lock:
            if self.trouble:
                self._problems['network'] = Problem(ERROR, self.trouble, now, now, self.troubles)
            elif 'network' in self._problems:
                self._problems['network'].seen_s = -math.inf
            problems = {
                cause: dataclasses.replace(problem)
                if now - problem.seen_s <= problem.memory_s
                else dataclasses.replace(problem, level=OK, message='not any more')
                for cause, problem in sorted(self._problems.items())
            }
            counts = self._figures(now) if self._counts else {}
            values = {'state': self.state, **counts, **self._facts}
        present = [problem for problem in problems.values() if problem.level != OK]
        levels = [problem.level for problem in present]
        messages = [problem.message for problem in present]
        device = values.get('device', '')
        message = '; '.join(messages) or self.state
        return [
            self._status('depth', max(levels, default=OK), message, device, values),
            *(
                self._status(cause, found.level, found.message, device, {'count': str(found.count)})
                for cause, found in problems.items()
            ),
        ]

    def _figures(self, now: float) -> dict[str, str]:
        return {
            'input rate (Hz)': f'{rate(self._inputs, now):.2f}',
            'output rate (Hz)': f'{rate(self._outputs, now):.2f}',
            'latency median (ms)': milliseconds(self._latencies),
            'age median (ms)': milliseconds(self._ages),
            'frames in': str(self.frames_in),
            'frames out': str(self.frames_out),
            'frames dropped': str(self.frames_dropped),
            'lost on the way': str(self._missed),
        }

    def _status(
        self, suffix: str, level: bytes, message: str, device: str, values: dict[str, str]
    ) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=level,
            name=self._name + suffix,
            message=message,
            hardware_id=device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


def remember(
    now: float, times: collections.deque[float], *beside: collections.deque[float]
) -> None:
    """Append an event, and forget those before RECENT_S with what is kept beside them."""
    times.append(now)
    while len(times) > 2 and times[0] < now - RECENT_S:
        times.popleft()
        for values in beside:
            values.popleft()


def rate(times: collections.deque[float], now: float) -> float:
    """Give events a second over the window up to now, so that it falls when they stop."""
    if len(times) < 2:
        return 0.0
    mean_s = (times[-1] - times[0]) / (len(times) - 1)
    return 1.0 / max(mean_s, now - times[-1], 1e-9)


def milliseconds(times_s: collections.deque[float]) -> str:
    """Give the median of times in seconds as text in milliseconds."""
    return f'{statistics.median(times_s) * 1e3:.1f}' if times_s else '-'


def clocks_apart(age_s: float) -> str:
    """Give what is likely wrong with an image of such an age; nothing where it is merely late."""
    if age_s <= APART_S:
        return ''
    return ': do the clocks differ? A bag or a simulation needs use_sim_time'
