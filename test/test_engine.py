"""Trouble with the network or its device, by stand-ins on the CPU."""

from __future__ import annotations

import time
import weakref

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

import torch
from ros_helpers import picture, rgb_message, running_node, wait_until
from test_node import answers

from depth_pro_ros import devices
from depth_pro_ros.estimator import DepthEstimator, OutOfMemoryError
from depth_pro_ros.ros import engine as engine_module
from depth_pro_ros.ros.diagnostics import Health
from depth_pro_ros.ros.engine import Engine, NetworkDownError
from depth_pro_ros.ros.parameters import NodeParameters

TROUBLE = {
    'out of memory': OutOfMemoryError('cuda:0 has too little free memory'),
    'device lost': RuntimeError(
        'CUDA error: an illegal memory access was encountered\nCUDA kernel'
    ),
    'driver': torch.cuda.OutOfMemoryError('CUDA out of memory.'),
    'not finite': ArithmeticError('the network gave values that are not finite'),
}


def failing(error: Exception):
    def predict(*args, **options):
        raise error

    return predict


@pytest.mark.parametrize('error', TROUBLE.values(), ids=TROUBLE)
def test_any_trouble_is_the_networks(tiny_weights, error):
    health = Health('node')
    engine = Engine(NodeParameters(weights=tiny_weights, device='cpu'), health)
    engine.load()
    engine.estimator.predict = failing(error)
    with pytest.raises(NetworkDownError):
        engine.predict(np.zeros((24, 32, 3), np.uint8), None)
    assert engine.estimator is None and '\n' not in health.trouble
    assert health.trouble.startswith(f'no depth: {str(error).splitlines()[0]}')


def test_the_network_is_loaded_anew_and_the_error_is_seen_until_then(tiny_weights, monkeypatch):
    monkeypatch.setattr(engine_module, 'FIRST_PAUSE_S', 1.5)
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        node.engine._pause_s = 1.5
        answers(peer, rgb_message(picture(32, 24), 0), ['depth'])
        broken = node.engine.estimator
        broken.predict = failing(TROUBLE['device lost'])
        for index in range(1, 5):
            peer.image.publish(rgb_message(picture(32, 24), index))
            time.sleep(0.05)
        status = wait_until(lambda: peer.diagnostics().get('depth_pro: network'))
        assert status[0] == 2 and 'an illegal memory access was encountered' in status[1]
        assert 'the network is loaded anew in' in status[1]
        assert peer.diagnostics()['depth_pro: depth'][0] == 2
        causes = [name for name in peer.diagnostics() if name != 'depth_pro: depth']
        assert [name for name in causes if 'age' not in name] == ['depth_pro: network']
        assert len(peer.received['depth']) == 1  # nothing old is sent again
        answers(peer, rgb_message(picture(32, 24), 9), ['depth'])
        assert node.engine.estimator is not broken
        wait_until(lambda: peer.diagnostics()['depth_pro: network'][0] == 0)
        assert node.failure is None


def test_the_pauses_grow_and_begin_anew_after_a_success(tiny_weights, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(engine_module.time, 'monotonic', lambda: now[0])
    health = Health('node')
    engine = Engine(NodeParameters(weights=tiny_weights, device='cpu', precision='fp32'), health)
    engine.load()
    rgb = np.zeros((24, 32, 3), np.uint8)
    load = DepthEstimator.from_pretrained
    tries: list[float] = []

    def vain(*args):
        tries.append(now[0])
        raise RuntimeError('no device')

    monkeypatch.setattr(DepthEstimator, 'from_pretrained', vain)
    engine.estimator.predict = failing(RuntimeError('lost'))
    for _ in range(1000):
        with pytest.raises(NetworkDownError):
            engine.predict(rgb, None)
        now[0] += 0.2
    gaps = np.diff([0.0, *tries])
    np.testing.assert_allclose(gaps, [1, 2, 4, 8, 16, 32, 60, 60], atol=0.21)
    assert health.trouble.startswith('no depth: no device') and health.troubles == 1 + len(tries)
    monkeypatch.setattr(DepthEstimator, 'from_pretrained', load)
    now[0] += 60.0
    assert engine.predict(rgb, None).depth_m.shape == (24, 32)
    assert health.trouble is None
    engine.estimator.predict = failing(RuntimeError('lost'))
    with pytest.raises(NetworkDownError, match='anew in 1 s'):
        engine.predict(rgb, None)


def test_after_trouble_nothing_holds_the_network(tiny_weights, monkeypatch):
    engine = Engine(NodeParameters(weights=tiny_weights, device='cpu'), Health('node'))
    engine.load()
    network = weakref.ref(engine.estimator.network)
    held = []
    monkeypatch.setattr(devices, 'release_memory', lambda: held.append(network() is not None))

    def lost(*_):
        try:
            raise RuntimeError('CUDA error')
        except RuntimeError as error:
            raise RuntimeError('no depth') from error

    network().head.register_forward_hook(lost)
    with pytest.raises(NetworkDownError):
        engine.predict(np.zeros((24, 32, 3), np.uint8), None)
    assert held == [False]

    def warm_up(estimator):
        nonlocal network
        network = weakref.ref(estimator.network)
        raise OutOfMemoryError('too little memory')

    monkeypatch.setattr(DepthEstimator, 'warm_up', warm_up)
    engine.forget()
    with pytest.raises(NetworkDownError, match='too little memory'):
        engine.predict(np.zeros((24, 32, 3), np.uint8), None)
    assert held[-1] is False


def test_a_picture_that_cannot_be_used_is_no_trouble(tiny_weights):
    engine = Engine(NodeParameters(weights=tiny_weights, device='cpu'), Health('node'))
    engine.load()
    estimator = engine.estimator
    with pytest.raises(ValueError, match='outside of 16'):
        engine.predict(np.zeros((8, 8, 3), np.uint8), None)
    assert engine.estimator is estimator


def test_a_device_that_refuses_to_give_memory_back_ends_no_thread(tiny_weights, monkeypatch):
    engine = Engine(NodeParameters(weights=tiny_weights, device='cpu'), Health('node'))
    engine.load()
    monkeypatch.setattr(devices, 'release_memory', failing(RuntimeError('device lost')))
    engine.free()
    assert engine.estimator is None
