"""The worker: one item in the network, the one before it being published."""

from __future__ import annotations

import threading

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

    def process(self, key: str, item: int):
        self.events.append(f'process {item}')
        if item == 13:
            raise ValueError('13')

        def deliver() -> None:
            assert self.gate.wait(20)
            if item == 14:
                raise ValueError('14')
            self.events.append(f'deliver {item}')

        return deliver

    def worker(self) -> Worker[str, int]:
        return Worker(
            self.mailbox,
            prepare=lambda: self.events.append('prepare'),
            process=self.process,
            finish=lambda: self.events.append('finish'),
            on_error=lambda key, item, error: self.events.append(f'error {error}'),
            on_failure=lambda error: self.events.append(f'failure {error}'),
            period_s=lambda: 0.0,
        )


@pytest.fixture
def log():
    return Log()


def test_the_next_item_is_processed_while_one_is_delivered_but_no_third(log):
    worker = log.worker()
    worker.start()
    log.mailbox.put('camera', 1)
    wait_until(lambda: 'process 1' in log.events)
    log.mailbox.put('camera', 2)
    wait_until(lambda: 'process 2' in log.events)
    log.mailbox.put('camera', 3)
    threading.Event().wait(0.2)
    assert log.events == ['prepare', 'process 1', 'process 2']
    log.gate.set()
    wait_until(lambda: 'deliver 3' in log.events)
    worker.stop()
    worker.join(20)
    assert [event for event in log.events if 'deliver' in event] == [
        *('deliver 1', 'deliver 2', 'deliver 3')
    ]


def test_the_end_comes_after_the_last_delivery(log):
    worker = log.worker()
    worker.start()
    log.mailbox.put('camera', 1)
    wait_until(lambda: 'process 1' in log.events)
    worker.stop()
    threading.Event().wait(0.1)
    assert worker.is_alive() and 'finish' not in log.events
    log.gate.set()
    worker.join(20)
    assert log.events == ['prepare', 'process 1', 'deliver 1', 'finish']


@pytest.mark.parametrize('item', [13, 14], ids=['processing', 'delivering'])
def test_an_error_ends_nothing(log, item):
    log.gate.set()
    worker = log.worker()
    worker.start()
    log.mailbox.put('camera', item)
    wait_until(lambda: f'error {item}' in log.events)
    log.mailbox.put('camera', 1)
    wait_until(lambda: 'deliver 1' in log.events)
    worker.stop()
    worker.join(20)
    assert log.events[-1] == 'finish'
