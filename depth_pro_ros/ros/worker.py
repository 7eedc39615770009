"""The newest-wins mailbox and the one thread that touches the network."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar('Item')
MAX_WAIT_S = 0.1


class Mailbox(Generic[Item]):
    """One slot between a callback that must not wait and a worker; the newest item wins."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._open = True

    def put(self, item: Item) -> bool:
        """Leave an item; gives True where it replaced one that was still waiting."""
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
        return replaced

    def take(self) -> Item | None:
        """Wait for an item; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or not self._open)
            item, self._item = self._item, None
            return item if self._open else None

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


class Worker(threading.Thread, Generic[Item]):
    """Runs `prepare` once and then `process` on the newest item, all on this one thread.

    prepare: an exception in it, as any that nothing else catches, ends the worker through
    `on_failure`.
    process: an exception in it goes to `on_error`, and the next item is taken.
    period_s: least time between two items' starts; a change of it takes effect at once.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        on_failure: Callable[[Exception], None],
        period_s: Callable[[], float],
    ) -> None:
        super().__init__(name='depth_pro_worker', daemon=True)
        self._prepare, self._process = prepare, process
        self._on_error, self._on_failure = on_error, on_failure
        self._period_s = period_s
        self._mailbox: Mailbox[Item] = Mailbox()
        self._stopping = threading.Event()

    def put(self, item: Item) -> bool:
        """Hand over an item without waiting; True where an older one was dropped for it."""
        return self._mailbox.put(item)

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end; False where it was still busy after `timeout_s`."""
        self._stopping.set()
        self._mailbox.close()
        if self.is_alive():
            self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Work until stopped; called by the thread itself."""
        try:
            self._prepare()
            self._work()
        except Exception as error:
            self._on_failure(error)

    def _work(self) -> None:
        started = -math.inf
        while True:
            while (left := started + self._period_s() - time.monotonic()) > 0.0:
                if self._stopping.wait(min(left, MAX_WAIT_S)):
                    return
            item = self._mailbox.take()
            if item is None:
                return
            started = time.monotonic()
            try:
                self._process(item)
            except Exception as error:
                self._on_error(error)
