"""The managed node, driven over its services as a lifecycle manager does it."""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
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
from rclpy.lifecycle import TransitionCallbackReturn
from ros_helpers import (
    Peer,
    contexts,
    figures,
    make_node,
    picture,
    rgb_message,
    running_node,
    spinning,
    wait_until,
)
from sensor_msgs.msg import CameraInfo

from depth_pro_ros.ros.engine import FIRST_PAUSE_S
from depth_pro_ros.ros.worker import Worker

CYCLES = 10


def change(peer: Peer, name: str) -> bool:
    """Ask for a transition, such as 'configure', which on a GPU may compile kernels first."""
    transition = Transition(id=getattr(Transition, f'TRANSITION_{name.upper()}'))
    return peer.call(ChangeState, 'change_state', 120.0, transition=transition).success


def state(peer: Peer) -> int:
    return peer.call(GetState, 'get_state').current_state.id


def test_ten_cycles_give_all_memory_back(tiny_weights):
    """In a process of its own: what other tests leave behind comes and goes."""
    values = f'weights:={tiny_weights}', 'device:=cpu', 'autostart:=false'
    flags = [word for value in values for word in ('-p', value)]
    command = [sys.executable, '-m', 'depth_pro_ros.ros.main', '--ros-args', *flags]
    process, began = subprocess.Popen(command), time.monotonic()
    samples = []
    try:
        with contexts(1) as (context,):
            peer = Peer(context, ('depth',))
            with spinning(peer):
                for cycle in range(CYCLES + 1):
                    assert change(peer, 'configure') and change(peer, 'activate')
                    wait_until(peer.image.get_subscription_count)
                    while not peer.received['depth']:  # the node may know the peer a moment later
                        peer.image.publish(rgb_message(picture(64, 48), cycle))
                        with contextlib.suppress(AssertionError):
                            wait_until(lambda: peer.received['depth'], 2.0)
                        assert process.poll() is None and time.monotonic() - began < 300
                    assert change(peer, 'deactivate') and change(peer, 'cleanup')
                    peer.received['depth'].clear()
                    if samples:  # pages that other threads hold go back a moment later
                        with contextlib.suppress(AssertionError):
                            wait_until(lambda: figures(process.pid)[0] <= 1.02 * samples[0][0], 1)
                    samples.append(figures(process.pid))
                assert state(peer) == State.PRIMARY_STATE_UNCONFIGURED
            peer.destroy_node()
    finally:
        process.terminate()
        assert process.wait(20) == 0
    resident, _, threads = zip(*samples, strict=True)
    print([round(each / 2**20, 1) for each in resident], 'MiB,', threads, 'threads')
    # grows over the first two cycles (of 40, the 4th had what the last 36 had), and by chance 2 %
    # more or less stays with a thread; what is lost in each cycle never comes back
    assert min(resident[-3:]) <= 1.02 * max(resident[2:5]), resident
    assert statistics.median(threads) <= threads[0], threads  # OpenMP's end a little later


def test_a_node_that_is_not_active_listens_to_nothing_and_holds_no_network(tiny_weights):
    def listens(node) -> bool:
        return any(each.topic_name == '/image' for each in node.subscriptions)

    with contexts(2) as (own, other):
        node = make_node(own, tiny_weights, autostart=False)
        peer = Peer(other, ('depth',))
        with spinning(node, peer):
            assert state(peer) == State.PRIMARY_STATE_UNCONFIGURED
            assert change(peer, 'configure')
            assert state(peer) == State.PRIMARY_STATE_INACTIVE and not listens(node)
            network = weakref.ref(node.engine.estimator.network)
            assert change(peer, 'activate') and listens(node)
            assert change(peer, 'deactivate') and not listens(node)
            peer.image.publish(rgb_message(picture(64, 48)))
            assert change(peer, 'cleanup') and network() is None
            assert not peer.received['depth']
        node.close()
        peer.destroy_node()


@pytest.mark.gpu
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


def test_a_transition_that_raises_is_said_and_ends_a_node_that_starts_by_itself(
    tiny_weights, monkeypatch, capfd
):
    def start(worker):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Worker, 'start', start)
    with running_node(tiny_weights) as (node, _):
        assert "can't start new thread" in str(node.failure)
        monkeypatch.undo()
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS  # as a manager might
    assert "on_configure: RuntimeError: can't start new thread" in capfd.readouterr().err


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
