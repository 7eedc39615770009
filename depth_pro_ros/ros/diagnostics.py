"""What the node knows of its own health, as diagnostic_msgs."""

from __future__ import annotations

import collections
import dataclasses
import statistics
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time
from std_msgs.msg import Header

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
WINDOW = 100
"""Frames that rates, latency and age are taken over."""
MEMORY_S = 10.0
"""How long a problem is reported after it was last seen."""


@dataclasses.dataclass
class Problem:
    """One cause of trouble, however often it came."""

    level: bytes
    message: str
    seen_s: float
    logged_s: float
    count: int = 1


class Health:
    """Counts frames and problems; its methods may be called from any thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._inputs: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._outputs: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._latencies: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._ages: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._problems: dict[str, Problem] = {}
        self._facts: dict[str, str] = {}
        self.state = 'loading the network'
        self.frames_in = self.frames_out = self.frames_dropped = 0

    def frame_in(self, replaced: bool) -> None:
        """Count a received image; `replaced`: an older one was dropped for it."""
        with self._lock:
            self._inputs.append(time.monotonic())
            self.frames_in += 1
            self.frames_dropped += replaced

    def frame_out(self, latency_s: float, age_s: float) -> None:
        """Count an answered image, with its time in the worker and the age of its stamp."""
        with self._lock:
            self._outputs.append(time.monotonic())
            self._latencies.append(latency_s)
            self._ages.append(age_s)
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
            if known is None or now - known.seen_s > MEMORY_S:
                self._problems[cause] = Problem(level, message, now, now)
                return True
            known.level, known.message, known.seen_s = level, message, now
            known.count += 1
            if due := now - known.logged_s > MEMORY_S:
                known.logged_s = now
            return due

    def message(self, stamp: Time) -> DiagnosticArray:
        """Give a status of the node and one more for each problem of the last MEMORY_S."""
        now = time.monotonic()
        with self._lock:
            problems = {
                cause: problem
                for cause, problem in sorted(self._problems.items())
                if now - problem.seen_s <= MEMORY_S
            }
            values = {
                'input rate (Hz)': f'{rate(self._inputs, now):.2f}',
                'output rate (Hz)': f'{rate(self._outputs, now):.2f}',
                'latency median (ms)': milliseconds(self._latencies),
                'age median (ms)': milliseconds(self._ages),
                'frames in': str(self.frames_in),
                'frames out': str(self.frames_out),
                'frames dropped': str(self.frames_dropped),
                **self._facts,
            }
            worst = max((problem.level for problem in problems.values()), default=OK)
            messages = '; '.join(problem.message for problem in problems.values())
        device = values.get('device', '')
        statuses = [self._status('', worst, messages or self.state, device, values)]
        statuses += [
            self._status(
                f' {cause}', found.level, found.message, device, {'count': str(found.count)}
            )
            for cause, found in problems.items()
        ]
        return DiagnosticArray(header=Header(stamp=stamp.to_msg()), status=statuses)

    def _status(
        self, suffix: str, level: bytes, message: str, device: str, values: dict[str, str]
    ) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=level,
            name=f'{self._name}:{suffix or " depth"}',
            message=message,
            hardware_id=device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


def rate(times: collections.deque[float], now: float) -> float:
    """Give events a second over the window up to now, so that it falls when they stop."""
    if len(times) < 2:
        return 0.0
    mean_s = (times[-1] - times[0]) / (len(times) - 1)
    return 1.0 / max(mean_s, now - times[-1], 1e-9)


def milliseconds(times_s: collections.deque[float]) -> str:
    """Give the median of times in seconds as text in milliseconds."""
    return f'{statistics.median(times_s) * 1e3:.1f}' if times_s else '-'
