"""The newest-wins mailbox, the one thread that touches the network, and the one that publishes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar('Key', bound=Hashable)
Item = TypeVar('Item')
MAX_WAIT_S = 0.1


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
    """Runs `prepare` once, `process` on one item after the other, and `finish`: on one thread.

    prepare: an exception in it, as any that nothing else catches, ends the worker through
    `on_failure`.
    process: gives what remains to be done for the item. That runs on a second thread beside the
    next item's `process`, in order. An exception in either goes to `on_error`.
    finish: runs at the end in any case.
    period_s: least time between two items' starts; a change of it takes effect at once.
    """

    def __init__(
        self,
        mailbox: Mailbox[Key, Item],
        prepare: Callable[[], None],
        process: Callable[[Key, Item], Callable[[], None]],
        finish: Callable[[], None],
        on_error: Callable[[Key, Item, Exception], None],
        on_failure: Callable[[Exception], None],
        period_s: Callable[[], float],
    ) -> None:
        super().__init__(name='depth_pro_worker', daemon=True)
        self._mailbox = mailbox
        self._prepare, self._process, self._finish = prepare, process, finish
        self._on_error, self._on_failure = on_error, on_failure
        self._period_s = period_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end after the item in progress; `join` waits for that."""
        self._stopping.set()
        self._mailbox.close()

    def run(self) -> None:
        """Work until stopped; called by the thread itself."""
        try:
            self._prepare()
            self._work()
        except Exception as error:
            self._on_failure(error)
        finally:
            self._finish()

    def _work(self) -> None:
        with ThreadPoolExecutor(1, 'depth_pro_publisher') as publisher:
            self._work_beside(publisher)

    def _work_beside(self, publisher: ThreadPoolExecutor) -> None:
        started, pending = -math.inf, Future[None]()
        pending.set_result(None)
        while True:
            while (left := started + self._period_s() - time.monotonic()) > 0.0:
                if self._stopping.wait(min(left, MAX_WAIT_S)):
                    return
            turn = self._mailbox.take()
            if turn is None:
                return
            started = time.monotonic()
            try:
                deliver = self._process(*turn)
            except Exception as error:
                self._on_error(*turn, error)
                continue
            pending.result()  # one at a time, so that none piles up
            pending = publisher.submit(self._deliver, turn, deliver)

    def _deliver(self, turn: tuple[Key, Item], deliver: Callable[[], None]) -> None:
        try:
            deliver()
        except Exception as error:
            self._on_error(*turn, error)
