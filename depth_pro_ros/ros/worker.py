"""The newest-wins mailbox, and the threads that prepare, estimate and deliver what is in it."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar('Key', bound=Hashable)
Item = TypeVar('Item')
Deliver = Callable[[], None]
Estimate = Callable[[Callable[[], None]], Deliver]

MAX_WAIT_S = 0.1
RECENT = 8
SPARE_S = 0.002
"""How much earlier than it is needed the next item should be ready."""


class Mailbox(Generic[Key, Item]):
    """A slot for each sender between callbacks that must not wait and a worker.

    In a slot the newest item wins; the senders take turns.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: dict[Key, Item] = {}
        self._turns: dict[Key, int] = {}
        """Sender -> number of its last turn."""
        self._open = True

    def put(self, key: Key, item: Item) -> bool:
        """Leave an item; gives True where it replaced one that was still waiting."""
        with self._changed:
            replaced = key in self._items
            self._items[key] = item
            self._changed.notify()
        return replaced

    def take(self) -> tuple[Key, Item] | None:
        """Wait for an item of the sender whose last turn is longest ago; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or not self._open)
            if not self._open:
                return None
            key = min(self._items, key=lambda key: self._turns.get(key, 0))
            self._turns[key] = 1 + max(self._turns.values(), default=0)
            return key, self._items.pop(key)

    def clear(self) -> dict[Key, Item]:
        """Throw away what waits; gives it."""
        with self._changed:
            items, self._items = self._items, {}
            return items

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


class Worker(threading.Thread, Generic[Key, Item]):
    """Takes one item after the other through three stages, each on a thread of its own.

    begin: runs once, before all else, on the thread of `estimate`; an exception in it, as any that
    nothing else catches, ends the worker through `on_failure`.
    prepare: gives `estimate` for an item.
    estimate: gives `deliver`. It takes a function to call, once or more, when it only waits for a
    device. From then on, and not before, the last item is delivered and the next one prepared
    beside it: so late that it is as new as can be, and so early that the device need not wait.
    Where it is not called, the computation is this machine's, and what ran beside it would slow it
    down: the next item is prepared when it is done, and the last one delivered meanwhile.
    deliver: in order. An exception in any of the three goes to `on_error`.
    finish: runs at the end in any case, on the thread of `estimate`.
    period_s: least time between two items' starts; a change of it takes effect at once.
    """

    def __init__(
        self,
        mailbox: Mailbox[Key, Item],
        begin: Callable[[], None],
        prepare: Callable[[Key, Item], Estimate],
        finish: Callable[[], None],
        on_error: Callable[[Key, Item, Exception], None],
        on_failure: Callable[[Exception], None],
        period_s: Callable[[], float],
    ) -> None:
        super().__init__(name='depth_pro_worker', daemon=True)
        self._mailbox = mailbox
        self._begin, self._prepare, self._finish = begin, prepare, finish
        self._on_error, self._on_failure = on_error, on_failure
        self._period_s = period_s
        self._stopping = threading.Event()
        self._started_s = -math.inf
        self._prepare_s: deque[float] = deque(maxlen=RECENT)
        """What the preparation of the newest items took."""
        self._busy_s: deque[float] = deque(maxlen=RECENT)
        """How long it was from their estimates' starts until the next could start."""

    def stop(self) -> None:
        """Ask the thread to end after the item in progress; `join` waits for that."""
        self._stopping.set()
        self._mailbox.close()

    def run(self) -> None:
        """Work until stopped; called by the thread itself."""
        try:
            self._begin()
            with (
                ThreadPoolExecutor(1, 'depth_pro_preparer') as preparer,
                ThreadPoolExecutor(1, 'depth_pro_publisher') as publisher,
            ):
                try:
                    self._work(preparer, publisher)
                finally:
                    self.stop()  # or the preparer would wait for the next item
        except Exception as error:
            self._on_failure(error)
        finally:
            self._finish()

    def _work(self, preparer: ThreadPoolExecutor, publisher: ThreadPoolExecutor) -> None:
        upcoming: Future[tuple[tuple[Key, Item], Estimate] | None] | None = None
        done: tuple[tuple[Key, Item], Deliver] | None = None
        delivery: Future[None] = Future()
        delivery.set_result(None)

        def go_on(due_s: float) -> None:
            """Deliver what is done, and let the next item be prepared."""
            nonlocal upcoming, done, delivery
            if done is not None:
                delivery, done = publisher.submit(self._deliver, *done), None
            if upcoming is None:
                upcoming = preparer.submit(self._next, due_s)

        started_s = math.nan
        while True:
            delivery.result()  # one at a time, so that none piles up
            if done is not None:
                self._busy_s.append(time.monotonic() - started_s)
            if upcoming is None or not upcoming.done():
                go_on(-math.inf)
            assert upcoming is not None
            prepared = upcoming.result()
            if prepared is None or self._stopping.is_set():
                break
            (turn, estimate), upcoming = prepared, None
            started_s = time.monotonic()
            lead_s = min(self._busy_s, default=0.0) - max(self._prepare_s) - SPARE_S
            try:
                answer = estimate(functools.partial(go_on, started_s + lead_s))
            except Exception as error:
                self._on_error(*turn, error)
                continue
            done = turn, answer
        go_on(-math.inf)

    def _next(self, due_s: float) -> tuple[tuple[Key, Item], Estimate] | None:
        """Wait for the time and for an item, and prepare it; None once stopped."""
        while True:
            while (
                left_s := max(due_s, self._started_s + self._period_s()) - time.monotonic()
            ) > 0.0:
                if self._stopping.wait(min(left_s, MAX_WAIT_S)):
                    return None
            turn = self._mailbox.take()
            if turn is None:
                return None
            self._started_s = time.monotonic()
            try:
                estimate = self._prepare(*turn)
            except Exception as error:
                self._on_error(*turn, error)
                continue
            self._prepare_s.append(time.monotonic() - self._started_s)
            return turn, estimate

    def _deliver(self, turn: tuple[Key, Item], deliver: Deliver) -> None:
        try:
            deliver()
        except Exception as error:
            self._on_error(*turn, error)
