"""The worker: one item in the network, the one before it being published."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import wait_until

from depth_pro_ros.ros.worker import Mailbox, Worker


class Log:
    """What a worker did, and a gate that its deliveries wait at."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.gate = threading.Event()
        self.mailbox: Mailbox[str, int] = Mailbox()
        self.compute: Callable[[int, Callable[[], None]], None] = lambda item, on_wait: None
        """What the network does; where it calls on_wait, it is on a device of its own."""

    def prepare(self, key: str, item: int):
        self.events.append(f'prepare {item}')
        self._fail(item, 12)

        def estimate(on_wait: Callable[[], None]):
            self.events.append(f'estimate {item}')
            self.compute(item, on_wait)
            self._fail(item, 13)
            self.events.append(f'estimated {item}')
            return deliver

        def deliver() -> None:
            assert self.gate.wait(20)
            self._fail(item, 14)
            self.events.append(f'deliver {item}')

        return estimate

    def _fail(self, item: int, bad: int) -> None:
        if item == bad:
            raise ValueError(str(bad))

    def worker(self) -> Worker[str, int]:
        return Worker(
            self.mailbox,
            begin=lambda: self.events.append('begin'),
            prepare=self.prepare,
            finish=lambda: self.events.append('finish'),
            on_error=lambda key, item, error: self.events.append(f'error {error}'),
            on_failure=lambda error: self.events.append(f'failure {error}'),
            period_s=lambda: 0.0,
        )


@contextlib.contextmanager
def working(log: Log) -> Iterator[Worker[str, int]]:
    worker = log.worker()
    worker.start()
    try:
        yield worker
    finally:
        log.gate.set()
        worker.stop()
        worker.join(20)
    assert not worker.is_alive() and log.events[-1] == 'finish'


def prepare_second(log: Log, on_wait: Callable[[], None]) -> None:
    """Let item 2 come, and be prepared beside the device."""
    log.mailbox.put('camera', 2)
    on_wait()
    wait_until(lambda: 'prepare 2' in log.events)


@pytest.fixture
def log():
    return Log()


def test_the_next_item_is_estimated_while_one_is_delivered_but_no_third(log):
    with working(log):
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'estimated 1' in log.events)
        log.mailbox.put('camera', 2)
        wait_until(lambda: 'estimated 2' in log.events)
        log.mailbox.put('camera', 3)
        threading.Event().wait(0.2)
        assert 'estimate 3' not in log.events
        log.gate.set()
        wait_until(lambda: 'deliver 3' in log.events)
    assert [event for event in log.events if 'deliver' in event] == [
        *('deliver 1', 'deliver 2', 'deliver 3')
    ]


def test_where_this_machine_computes_nothing_is_prepared_beside_it(log):
    log.gate.set()
    others = iter([2, 3])

    def compute(item: int, on_wait: Callable[[], None]) -> None:
        if (other := next(others, None)) is not None:
            log.mailbox.put('camera', other)
            threading.Event().wait(0.2)

    log.compute = compute
    with working(log):
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'deliver 3' in log.events)
    order = [event for event in log.events if 'deliver' not in event]
    each = [
        f'{stage} {item}' for item in (1, 2, 3) for stage in ('prepare', 'estimate', 'estimated')
    ]
    assert order == ['begin', *each, 'finish']


def test_beside_a_device_the_last_item_is_delivered_and_the_newest_prepared(log):
    log.gate.set()

    def compute(item: int, on_wait: Callable[[], None]) -> None:
        if item == 1:
            prepare_second(log, on_wait)
            threading.Event().wait(1.0)  # what the next is expected to take
        elif item == 2:
            log.events.append('wait')
            on_wait()
            on_wait()  # as after a failure
            log.mailbox.put('camera', 3)
            log.mailbox.put('camera', 4)  # newer, and early enough
            wait_until(lambda: {'prepare 3', 'prepare 4'} & set(log.events))
            worker._prepare_s.append(10.0)  # so that it is waited for
        else:
            on_wait()
            wait_until(lambda: 'deliver 2' in log.events)

    log.compute = compute
    with working(log) as worker:
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'estimated 4' in log.events)
    assert log.events == [
        *('begin', 'prepare 1', 'estimate 1', 'prepare 2', 'estimated 1'),
        *('estimate 2', 'wait', 'deliver 1', 'prepare 4', 'estimated 2'),
        *('estimate 4', 'deliver 2', 'estimated 4', 'deliver 4', 'finish'),
    ]


def test_the_end_comes_after_the_last_delivery(log):
    with working(log) as worker:
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'estimated 1' in log.events)
        worker.stop()
        threading.Event().wait(0.1)
        assert worker.is_alive() and 'finish' not in log.events
    assert log.events == [
        *('begin', 'prepare 1', 'estimate 1', 'estimated 1', 'deliver 1', 'finish')
    ]


def test_an_answer_is_not_lost_where_the_next_item_needs_no_device(log):
    log.gate.set()

    def compute(item: int, on_wait: Callable[[], None]) -> None:
        if item == 1:
            prepare_second(log, on_wait)
            threading.Event().wait(0.1)

    log.compute = compute
    with working(log):
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'deliver 2' in log.events)
    assert [event for event in log.events if 'deliver' in event] == ['deliver 1', 'deliver 2']


def test_a_device_that_is_done_early_does_not_wait(log):
    log.gate.set()
    times_s: dict[int, float] = {}

    def compute(item: int, on_wait: Callable[[], None]) -> None:
        times_s[item] = time.monotonic()
        if item < 4:
            log.mailbox.put('camera', item + 1)
        on_wait()
        if item == 1:
            threading.Event().wait(2.0)

    log.compute = compute
    with working(log):
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'deliver 4' in log.events)
    assert times_s[4] - times_s[2] < 2.0


def test_nothing_is_delivered_while_the_device_waits_for_an_item_that_came(log):
    log.gate.set()
    prepare = log.prepare

    def slow(key: str, item: int):
        if item == 2:
            log.events.append('come')
            wait_until(lambda: 'estimated 1' in log.events)
            time.sleep(0.005)
        return prepare(key, item)

    def compute(item: int, on_wait: Callable[[], None]) -> None:
        if item == 1:
            log.mailbox.put('camera', 2)
            on_wait()
            wait_until(lambda: 'come' in log.events)
            worker._prepare_s.append(10.0)  # the longest that is known
        else:
            on_wait()
            wait_until(lambda: 'deliver 1' in log.events)

    log.prepare, log.compute = slow, compute
    with working(log) as worker:
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'deliver 2' in log.events)
    assert log.events.index('estimate 2') < log.events.index('deliver 1')


@pytest.mark.parametrize('item', [1, 12, 13])
@pytest.mark.parametrize('beside', [False, True], ids=['on the CPU', 'on a device'])
def test_no_picture_is_kept_while_none_comes(log, item, beside):
    class Picture:
        """A number that can be watched."""

        def __eq__(self, other: object) -> bool:
            return other == item

        def __str__(self) -> str:
            return str(item)

    log.gate.set()
    log.compute = lambda item, on_wait: on_wait() if beside else None
    with working(log):
        picture = Picture()
        watched = weakref.ref(picture)
        log.mailbox.put('camera', picture)
        del picture
        wait_until(lambda: {f'deliver {item}', f'error {item}'} & set(log.events))
        wait_until(lambda: watched() is None)


def test_a_failure_of_a_delivery_is_not_missed_at_the_end(log):
    def refuse(key: str, item: int, error: Exception) -> None:
        raise RuntimeError('no log')

    worker = log.worker()
    worker._on_error = refuse
    worker.start()
    log.mailbox.put('camera', 14)
    wait_until(lambda: 'estimated 14' in log.events)
    worker.stop()
    log.gate.set()
    worker.join(20)
    assert log.events[-2:] == ['failure no log', 'finish']


def test_what_is_prepared_is_answered_before_the_end(log):
    log.gate.set()

    def compute(item: int, on_wait: Callable[[], None]) -> None:
        if item == 1:
            prepare_second(log, on_wait)
            worker.stop()

    log.compute = compute
    with working(log) as worker:
        log.mailbox.put('camera', 1)
        worker.join(20)
    assert [event for event in log.events if 'deliver' in event] == ['deliver 1', 'deliver 2']


def test_an_interpreter_ends_beside_a_worker_that_was_not_stopped():
    code = (
        'from depth_pro_ros.ros.worker import Mailbox, Worker\n'
        'nothing = lambda *arguments: None\n'
        'Worker(Mailbox(), nothing, nothing, nothing, nothing, nothing, lambda: 0.0).start()\n'
        'import time; time.sleep(0.5)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)


@pytest.mark.parametrize('item', [12, 13, 14], ids=['preparing', 'estimating', 'delivering'])
def test_an_error_ends_nothing(log, item):
    log.gate.set()
    with working(log):
        log.mailbox.put('camera', item)
        wait_until(lambda: f'error {item}' in log.events)
        log.mailbox.put('camera', 1)
        wait_until(lambda: 'deliver 1' in log.events)


@pytest.mark.parametrize('beside', [False, True], ids=['on the CPU', 'on a device'])
def test_a_failure_beside_the_items_ends_it(log, beside):
    def refuse(key: str, item: int, error: Exception) -> None:
        raise RuntimeError('no log')

    log.compute = lambda item, on_wait: on_wait() if beside else None
    worker = log.worker()
    worker._on_error = refuse
    worker.start()
    log.mailbox.put('camera', 13)
    worker.join(20)
    assert log.events[-2:] == ['failure no log', 'finish']
