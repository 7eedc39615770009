"""The managed node, driven over its services as a lifecycle manager does it."""

from __future__ import annotations

import math
import os
import statistics
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

import torch
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from ros_helpers import (
    Peer,
    contexts,
    make_node,
    met,
    picture,
    rgb_message,
    running_node,
    spinning,
    wait_until,
)
from sensor_msgs.msg import CameraInfo

from depth_pro_ros.ros.engine import FIRST_PAUSE_S

CYCLES = 10


def change(peer: Peer, name: str) -> bool:
    """Ask for a transition, such as 'configure'."""
    number = getattr(Transition, f'TRANSITION_{name.upper()}')
    return peer.call(ChangeState, 'change_state', transition=Transition(id=number)).success


def state(peer: Peer) -> int:
    return peer.call(GetState, 'get_state').current_state.id


def resident_bytes() -> int:
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def test_ten_cycles_give_all_memory_back(tiny_weights):
    with contexts(2) as (own, other):
        node = make_node(own, tiny_weights, autostart=False)
        peer = Peer(other, ('depth',))
        resident, threads, answered = [], [], 0
        with spinning(node, peer):
            assert state(peer) == State.PRIMARY_STATE_UNCONFIGURED
            for cycle in range(CYCLES + 1):
                assert change(peer, 'configure')
                assert state(peer) == State.PRIMARY_STATE_INACTIVE
                network = weakref.ref(node.engine.estimator.network)
                assert not [each for each in node.subscriptions if each.topic_name == '/image']
                assert change(peer, 'activate')
                wait_until(lambda: met(node, peer))
                answered += 1
                message = rgb_message(picture(64, 48), cycle)
                peer.image.publish(message)
                wait_until(lambda count=answered: len(peer.received['depth']) == count)
                assert change(peer, 'deactivate')
                peer.image.publish(message)
                assert change(peer, 'cleanup')
                assert network() is None
                if resident:  # pages that other threads hold go back a moment later
                    wait_until(lambda: resident_bytes() <= 1.02 * resident[0])
                resident.append(resident_bytes())
                threads.append(len(os.listdir('/proc/self/task')))
            assert len(peer.received['depth']) == answered  # nothing after deactivate
            assert state(peer) == State.PRIMARY_STATE_UNCONFIGURED
        node.close()
        peer.destroy_node()
    print([round(each / 2**20, 1) for each in resident], 'MiB,', threads, 'threads')
    assert statistics.median(threads) <= threads[0], threads  # OpenMP's end a little later


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_cleanup_frees_the_memory_of_the_gpu(tiny_weights):
    with contexts(2) as (own, other):
        node = make_node(own, tiny_weights, autostart=False, device='cuda', precision='fp16')
        peer = Peer(other, ('depth',))
        with spinning(node, peer):
            left = []
            for _ in range(3):
                assert change(peer, 'configure')
                assert torch.cuda.memory_allocated() > 1e5
                assert change(peer, 'cleanup')
                left.append(torch.cuda.memory_allocated())
            assert max(left) == min(left) and torch.cuda.memory_reserved() <= 2**25
        node.close()
        peer.destroy_node()


def test_transitions_that_the_state_does_not_allow_are_refused(tiny_weights):
    with running_node(tiny_weights) as (_, peer):
        for name in ('configure', 'activate', 'cleanup', 'unconfigured_shutdown'):
            assert not change(peer, name), name
        assert not peer.call(ChangeState, 'change_state', transition=Transition(id=99)).success
        bad = Transition(label='no such thing')
        assert not peer.call(ChangeState, 'change_state', transition=bad).success
        assert state(peer) == State.PRIMARY_STATE_ACTIVE
        assert change(peer, 'active_shutdown')
        assert state(peer) == State.PRIMARY_STATE_FINALIZED


def test_a_configuration_that_fails_can_be_tried_again(tiny_weights, tmp_path):
    path = tmp_path / 'late.safetensors'
    with contexts(2) as (own, other):
        node = make_node(own, str(path), autostart=False)
        peer = Peer(other, ('depth',))
        with spinning(node, peer):
            assert not change(peer, 'configure')
            assert state(peer) == State.PRIMARY_STATE_UNCONFIGURED
            status = wait_until(lambda: peer.diagnostics().get('depth_pro: network'))
            assert status[0] == 2 and "no weights '" in status[1]
            path.write_bytes(Path(tiny_weights).read_bytes())
            assert change(peer, 'configure') and change(peer, 'activate')
            wait_until(
                lambda: peer.diagnostics().get('depth_pro: depth', (9,))[:2] == (0, 'running')
            )
            assert node.failure is None
        node.close()
        peer.destroy_node()


def test_deactivating_in_the_middle_of_an_inference_publishes_nothing_more(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        predict, entered = node.engine.estimator.predict, threading.Event()

        def slow(*args, **options):
            entered.set()
            time.sleep(0.5)
            return predict(*args, **options)

        node.engine.estimator.predict = slow
        peer.image.publish(rgb_message(np.zeros((48, 64, 3), np.uint8)))
        assert entered.wait(10.0)
        assert change(peer, 'deactivate')
        assert change(peer, 'activate')  # soon after
        wait_until(lambda: node.health.frames_dropped == 1)
        time.sleep(0.2)
        assert not peer.received['depth']


class Stopper:
    """A publisher during whose work the node is stopped."""

    def __init__(self, publisher, stop) -> None:
        self._publisher, self._stop = publisher, stop

    def publish(self, message) -> None:
        self._publisher.publish(message)
        self._stop()

    def __getattr__(self, name):
        return getattr(self._publisher, name)


def test_a_stop_between_two_outputs_and_what_cleanup_forgets(tiny_weights):
    with running_node(tiny_weights, wanted=('depth', 'info')) as (node, peer):
        stream = node.streams['']
        outputs = stream.topics.outputs
        outputs['info'] = Stopper(outputs['info'], stream.outdate)
        info = CameraInfo(width=64, height=48)
        peer.info.publish(info)
        wait_until(lambda: stream._info)
        peer.image.publish(rgb_message(np.zeros((48, 64, 3), np.uint8)))
        wait_until(lambda: peer.received['info'] and node.health.frames_dropped == 1)
        assert change(peer, 'deactivate')
        node.health.trouble, node.engine._pause_s, node.engine._retry_s = 'no depth', 60.0, 1e12
        assert change(peer, 'cleanup')
        assert stream._info is None and node.health.trouble is None
        assert (node.engine._pause_s, node.engine._retry_s) == (FIRST_PAUSE_S, -math.inf)
        assert not peer.received['depth']


NONSENSE = {'qos_overrides./image.subscription.reliability': 'nonsense'}


def test_an_activation_that_fails_is_said_and_ends_a_node_that_starts_by_itself(tiny_weights):
    with running_node(tiny_weights, **NONSENSE) as (node, peer):
        assert 'cannot subscribe' in str(node.failure) and 'nonsense' in str(node.failure)
        status = wait_until(lambda: peer.diagnostics().get('depth_pro: network'))
        assert status[0] == 2 and 'nonsense' in status[1]


def test_an_activation_that_fails_under_a_manager_can_be_tried_again(tiny_weights):
    with contexts(2) as (own, other):
        node = make_node(own, tiny_weights, autostart=False)
        peer = Peer(other, ())
        stream = node.streams['']
        subscribe, stream.subscribe = stream.subscribe, None
        with spinning(node, peer):
            assert change(peer, 'configure') and not change(peer, 'activate')
            assert state(peer) == State.PRIMARY_STATE_INACTIVE and 'cannot' in node.health.trouble
            stream.subscribe = subscribe
            assert change(peer, 'activate')
            assert node.health.trouble is None and node.failure is None
        node.close()
        peer.destroy_node()
