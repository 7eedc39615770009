"""Several cameras of different sizes and rates on one network."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import (
    Peer,
    contexts,
    make_node,
    met,
    picture,
    rgb_message,
    spinning,
    wait_until,
)
from std_srvs.srv import Trigger

from depth_pro_ros.estimator import DepthPrediction
from depth_pro_ros.ros.worker import Mailbox

CAMERAS = {'front': (96, 64, 60.0), 'left': (64, 48, 45.0), 'rear': (48, 48, 30.0)}
"""Camera -> width, height, frames a second."""
WANTED = {'front': (), 'rear': ('depth',)}
"""Camera -> the outputs that somebody subscribes to."""
INFERENCE_S = 0.03
"""Time of the stand-in: the cameras together want four times as many frames as there are."""


def coded(rgb, focal_px=None, **options) -> DepthPrediction:
    """Answer with the code that the picture carries in its first pixel as its depth."""
    time.sleep(INFERENCE_S)
    height, width = rgb.shape[:2]
    depth_m = np.full((height, width), float(rgb[0, 0, 0]), np.float32)
    return DepthPrediction(depth_m, 50.0, 50.0, focal_px is None, None)


def coded_beside(rgb, focal_px=None, *, on_wait, **options) -> DepthPrediction:
    """Answer so as a GPU does, but for a camera whose frames need none."""
    if rgb.shape[:2] != (48, 64):
        on_wait()
    return coded(rgb, focal_px)


@pytest.fixture
def three_cameras(tiny_weights):
    """Give a node and a peer for each of its three cameras."""
    with contexts(4) as (own, *others):
        node = make_node(own, tiny_weights, cameras=list(CAMERAS), max_depth=1000.0, warn_age_s=0.0)
        peers = {
            name: Peer(context, ('depth', 'info'), camera=name)
            for name, context in zip(CAMERAS, others, strict=True)
        }
        with spinning(node, *peers.values()):
            wait_until(lambda: node.health.state == 'running')
            wait_until(
                lambda: all(met(node, peers[name], ('depth', 'info'), name) for name in CAMERAS)
            )
            yield node, peers
        node.close()
        for peer in peers.values():
            peer.destroy_node()


@pytest.mark.parametrize('predict', [coded, coded_beside], ids=['on the CPU', 'on a device'])
def test_each_camera_gets_its_share_and_its_own_headers(three_cameras, predict):
    node, peers = three_cameras
    node.engine.estimator.predict = predict
    timers = []
    sent = dict.fromkeys(CAMERAS, 0)

    def publish(name, width, height):
        sent[name] += 1
        code = sent[name] % 200 + 1
        message = rgb_message(np.full((height, width, 3), code, np.uint8), sent[name])
        message.header.frame_id = f'{name} {code}'
        peers[name].image.publish(message)

    for name, (width, height, rate) in CAMERAS.items():
        timers.append(
            peers[name].create_timer(1 / rate, lambda n=name, w=width, h=height: publish(n, w, h))
        )
    wait_until(lambda: sum(len(peer.received['depth']) for peer in peers.values()) >= 120, 60)
    for timer, peer in zip(timers, peers.values(), strict=True):
        peer.destroy_timer(timer)
    wait_until(
        lambda: all(
            s.health.frames_out == len(peers[n].received['depth'])
            and s.health.frames_in == s.health.frames_out + s.health.frames_dropped
            for n, s in node.streams.items()
        )
    )
    answered = {name: len(peer.received['depth']) for name, peer in peers.items()}
    share = sum(answered.values()) / 3
    assert all(abs(count - share) <= 0.1 * share for count in answered.values()), answered
    for name, (width, height, _) in CAMERAS.items():
        for depth in peers[name].received['depth']:
            camera, code = depth.header.frame_id.split()
            assert (camera, depth.width, depth.height) == (name, width, height)
            values = np.frombuffer(depth.data, '<f4')
            assert (values == float(code)).all()
        for info in peers[name].received['info']:
            assert info.header.frame_id.startswith(name) and info.width == width


def test_names_locks_and_diagnostics_are_each_cameras_own(three_cameras):
    node, peers = three_cameras
    for name, (width, height, _) in CAMERAS.items():
        if name != 'rear':
            peers[name].image.publish(rgb_message(picture(width, height)))
    wait_until(lambda: peers['front'].received['depth'] and peers['left'].received['depth'])
    bad = rgb_message(picture(64, 48))
    bad.encoding = 'nothing'
    peers['left'].image.publish(bad)
    statuses = wait_until(
        lambda: (
            'depth_pro: left input' in peers['front'].diagnostics() and peers['front'].diagnostics()
        )
    )
    assert statuses['depth_pro: front depth'][:2] == (0, 'running')
    assert statuses['depth_pro: front depth'][2]['frames out'] == '1'
    assert statuses['depth_pro: left depth'][0] == 2
    assert statuses['depth_pro: rear depth'][2]['frames in'] == '0'
    assert statuses['depth_pro: depth'][:2] == (0, 'running')
    assert statuses['depth_pro: depth'][2]['device'].startswith('cpu')
    assert 'frames in' not in statuses['depth_pro: depth'][2]  # they are the cameras'
    assert (
        node.streams['front'].lens.filter.count == 1 and node.streams['rear'].lens.filter.count == 0
    )
    assert peers['front'].call(Trigger, 'front/relock').success
    response = peers['front'].call(Trigger, 'left/save_calibration')
    assert not response.success and 'learning, 1 estimates' in response.message


def test_one_frame_of_each_camera_that_somebody_subscribes_to(tiny_weights):
    with contexts(2) as (own, other):
        node = make_node(own, tiny_weights, cameras=['front', 'rear'], warn_age_s=0.0)
        peers = {name: Peer(other, wanted, camera=name) for name, wanted in WANTED.items()}
        with spinning(node, *peers.values()):
            wait_until(lambda: all(met(node, peers[name], WANTED[name], name) for name in peers))
            for peer in peers.values():
                peer.create_timer(0.1, lambda p=peer: p.image.publish(rgb_message(picture(32, 24))))
            response = peers['rear'].call(Trigger, 'estimate_once')
            assert (response.success, response.message) == (True, 'depth was published')
            wait_until(lambda: peers['rear'].received['depth'])
        node.close()
        for peer in peers.values():
            peer.destroy_node()


def test_senders_take_turns_and_the_newest_item_of_each_wins():
    mailbox: Mailbox[str, int] = Mailbox()
    assert [mailbox.put('fast', 1), mailbox.put('slow', 2), mailbox.put('fast', 3)] == [0, 0, 1]
    assert mailbox.take() == ('fast', 3)
    mailbox.put('fast', 4)
    assert mailbox.take() == ('slow', 2)
    assert mailbox.take() == ('fast', 4)
    mailbox.put('fast', 5)
    mailbox.put('slow', 6)
    assert mailbox.take() == ('slow', 6)
    assert mailbox.replace('fast', 7) and not mailbox.replace('slow', 8)
    assert mailbox.clear() == {'fast': 7}
    mailbox.close()
    assert mailbox.take() is None
