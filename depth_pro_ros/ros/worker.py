"""The newest-wins mailbox, and the threads that prepare, estimate and deliver what is in it."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

Key = TypeVar('Key', bound=Hashable)
Item = TypeVar('Item')
Result = TypeVar('Result')
Deliver = Callable[[], None]
Estimate = Callable[[Callable[[], None]], Deliver]
Turn = tuple[Any, Any]
Prepared = tuple[Turn, Estimate]

MAX_WAIT_S = 0.1
RECENT = 8
"""How many of the newest items' times are kept."""
SPARE_S, LATE_S = 0.002, 0.01
"""How much earlier than it is needed the next item should be ready, and how late it may be."""


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

    def replace(self, key: Key, item: Item) -> bool:
        """Leave an item in the place of one that was still waiting, or not at all; tells which."""
        with self._changed:
            if key in self._items:
                self._items[key] = item
            return key in self._items

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


class Helper(threading.Thread):
    """A thread that does one task after the other.

    A daemon: nothing ends a task that waits, as for a camera, when the interpreter ends.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.start()

    def submit(self, task: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Have task(*arguments) done, and give what will be its result."""
        future: Future[Result] = Future()

        def do() -> None:
            try:
                future.set_result(task(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(do)
        return future

    def run(self) -> None:
        """Do the tasks; called by the thread itself."""
        while (task := self._tasks.get()) is not None:
            task()
            del task  # and with it pictures

    def finish(self) -> None:
        """Wait for the tasks to be done, and end."""
        self._tasks.put(None)
        self.join()


class Worker(threading.Thread, Generic[Key, Item]):
    """Takes one item after the other through three stages, each on a thread of its own.

    begin: runs once, before all else, on the thread of `estimate`; an exception in it, as any that
    nothing else catches, ends the worker through `on_failure`.
    prepare: gives `estimate` for an item.
    estimate: gives `deliver`. It takes a function to call, once or more, when it only waits for a
    device: the next item is then prepared beside it, so late that it is as new as can be, and so
    early that the device hardly waits for it. Else that is done after it, as what runs beside the
    computation of a CPU slows it down.
    deliver: in order, beside the next item's `estimate`, and if that waits for a device then: both
    work for the interpreter's lock.
    An exception in any of the three goes to `on_error`.
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
        """Processor time of the newest items' preparation; with what runs beside it, it may last
        longer, but who allows for that is too early, and has more beside it."""
        self._busy_s: deque[float] = deque(maxlen=RECENT)
        """How long the newest ones kept a device, and the next one waiting."""
        self._needed = threading.Event()
        """Whether the next item is waited for."""
        self._taken = False
        """Whether it has come."""

    def stop(self) -> None:
        """Ask the thread to end after the items in progress."""
        self._stopping.set()
        self._mailbox.close()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the thread to end, and tell whether it has."""
        if self.is_alive():
            self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Work until stopped; called by the thread itself."""
        try:
            self._begin()
            preparer, publisher = Helper('depth_pro_preparer'), Helper('depth_pro_publisher')
            try:
                self._work(preparer, publisher)
            finally:
                self.stop()
                preparer.finish()
                publisher.finish()
        except Exception as error:
            self._on_failure(error)
        finally:
            self._finish()

    def _work(self, preparer: Helper, publisher: Helper) -> None:
        upcoming: Future[Prepared | None] | None = None
        done: tuple[Turn, Deliver] | None = None
        delivery: Future[object] = Future()
        delivery.set_result(None)
        started_s = math.nan

        def deliver() -> None:
            nonlocal done, delivery
            if done is not None:
                delivery, done = publisher.submit(self._attempt, *done), None

        def go_on() -> None:
            nonlocal upcoming
            deliver()
            if upcoming is None:
                lead_s = min(self._busy_s, default=0.0) - max(self._prepare_s) - SPARE_S
                self._needed.clear()
                self._taken = False
                upcoming = preparer.submit(self._next, started_s + lead_s)

        while True:
            self._needed.set()
            delivery.result()  # one at a time, so that none piles up
            if upcoming is None:
                deliver()
                upcoming = preparer.submit(self._next, -math.inf)
            else:
                self._busy_s.append(time.monotonic() - started_s)
                if self._taken:  # rather than that a delivery holds it up
                    wait([upcoming], max(self._prepare_s) + LATE_S)
                if not upcoming.done():
                    deliver()
            prepared = upcoming.result()
            if prepared is None:
                break
            upcoming, started_s = None, time.monotonic()
            turn, estimate = prepared
            answer = self._attempt(turn, estimate, go_on)
            deliver()  # the last one, unless this one did so
            done = None if answer is None else (turn, answer)
            del prepared, turn, estimate, answer  # and with them pictures, while no other comes
        deliver()
        delivery.result()

    def _next(self, due_s: float) -> Prepared | None:
        """Wait for the time and for an item, and prepare it; None once stopped."""
        self._needed.wait(max(0.0, due_s - time.monotonic()))
        while True:
            while (left_s := self._started_s + self._period_s() - time.monotonic()) > 0.0:
                if self._stopping.wait(min(left_s, MAX_WAIT_S)):
                    return None
            turn = self._mailbox.take()
            if turn is None:
                return None
            self._taken = True
            self._started_s, began_s = time.monotonic(), time.thread_time()
            estimate = self._attempt(turn, self._prepare, *turn)
            if estimate is not None:
                self._prepare_s.append(time.thread_time() - began_s)
                return turn, estimate
            del turn

    def _attempt(self, turn: Turn, stage: Callable[..., Result], *arguments: Any) -> Result | None:
        """Give stage(*arguments), or None after an exception, which goes to `on_error`."""
        try:
            return stage(*arguments)
        except Exception as error:
            self._on_error(*turn, error)
            return None
