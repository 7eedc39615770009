"""The node as a process: how it starts, how it ends, and its callbacks under load."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

import rclpy
from rclpy.qos import ReliabilityPolicy
from ros_helpers import (
    Peer,
    contexts,
    figures,
    picture,
    rgb_message,
    running_node,
    spinning,
    wait_until,
)

QOS = 'qos_overrides./depth_pro/depth/image.publisher.'


@pytest.fixture
def start():
    """Give a function that starts the node with parameters and collects its output."""
    processes = []

    def run(**parameters):
        arguments = [f'{name}:={value}' for name, value in parameters.items()]
        flags = [word for argument in arguments for word in ('-p', argument)]
        process = subprocess.Popen(
            [sys.executable, '-m', 'depth_pro_ros.ros.main', '--ros-args', *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        process.lines = []
        thread = threading.Thread(target=lambda: process.lines.extend(process.stdout), daemon=True)
        thread.start()
        process.finish = lambda: (process.wait(60), thread.join(5), ''.join(process.lines))[2]
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
@pytest.mark.parametrize('moment', ['starting', 'loading', 'running'])
def test_a_signal_ends_the_node_within_two_seconds(start, tiny_weights, stop, moment):
    process = start(weights=tiny_weights)
    if moment == 'starting':
        time.sleep(0.3)
    elif moment == 'loading':
        wait_until(lambda: any('loading' in line for line in process.lines), 60)
    else:
        wait_until(lambda: any('ready' in line for line in process.lines), 60)
    begun = time.monotonic()
    process.send_signal(stop)
    time.sleep(0.3)
    process.send_signal(stop)  # impatient users, and a terminal beside a launch file, send two
    output = process.finish()
    assert time.monotonic() - begun < 2.0
    assert process.returncode == 0 and 'Traceback' not in output, output


def test_a_signal_just_before_rclpy_listens_to_signals_ends_the_node(tiny_weights):
    code = (
        'import os, signal, sys, rclpy\n'
        'from depth_pro_ros.ros.run import run\n'
        'init = rclpy.init\n'
        'rclpy.init = lambda: (os.kill(os.getpid(), signal.SIGTERM), init())\n'
        f"sys.argv += ['--ros-args', '-p', 'weights:={tiny_weights}']\n"
        'sys.exit(run())'
    )
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, timeout=60)
    assert ended.returncode == 0 and b'loading' not in ended.stderr, ended.stderr


def test_a_node_that_ended_leaves_no_shared_memory_and_is_seen_no_more(start, tiny_weights):
    with contexts(1) as (context,):
        other = rclpy.create_node('other', context=context)
        before = segments()
        process = start(weights=tiny_weights)
        wait_until(lambda: any('ready' in line for line in process.lines), 60)
        wait_until(lambda: 'depth_pro' in other.get_node_names())
        process.send_signal(signal.SIGINT)
        process.finish()
        wait_until(lambda: 'depth_pro' not in other.get_node_names(), 5.0)
        assert segments() <= before
        other.destroy_node()


def segments() -> set[str]:
    """Give the shared memory of Fast DDS; where another middleware runs there is none."""
    return {name for name in os.listdir('/dev/shm') if re.match('fastrtps_[0-9a-f]{8}', name)}


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_in_the_middle_of_an_inference_too(start, stop):
    process = start(weights='small')
    wait_until(lambda: any('ready' in line for line in process.lines), 60)
    with contexts(1) as (context,):
        peer = Peer(context, ('depth',), ReliabilityPolicy.BEST_EFFORT)
        message = rgb_message(picture(640, 480))
        with spinning(peer):
            sends = peer.create_timer(0.02, lambda: peer.image.publish(message))
            wait_until(lambda: peer.received['depth'], 60)
            time.sleep(0.1)  # the last one is in the network when the signal comes
            begun = time.monotonic()
            process.send_signal(stop)
            output = process.finish()
            assert time.monotonic() - begun < 2.0
            peer.destroy_timer(sends)
        assert process.returncode == 0 and 'Traceback' not in output, output
        peer.destroy_node()


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'weights': 'nowhere.pt'}, "no weights 'nowhere.pt': neither a file nor one of the names"),
        ({'device': 'tpu'}, "no device 'tpu'"),
        ({'precision': 'int3'}, "precision 'int3' is not one of: auto, fp32"),
        ({'cloud_stride': '0'}, 'cloud_stride'),
        ({'intrinsics': 'fixed'}, 'needs a positive focal_px'),
        ({'max_depth': '99999.0'}, 'max_depth'),
        ({'max_depth': 'far'}, 'max_depth must be of type float'),
        ({'min_depth': '5', 'max_depth': '2'}, 'is not less than max_depth'),
        (
            {QOS + 'reliability': 'nonsense'},
            'cannot publish /depth_pro/depth/image with its qos_ov',
        ),
        ({'scan_pose': '[0.1, 0]'}, "Couldn't parse parameter override rule"),
        ({QOS + 'depth': 'many'}, "expecting type 'INTEGER'"),
        ({'use_sim_time': 'maybe'}, "Trying to set parameter 'use_sim_time' to 'maybe'"),
    ],
    ids=str,
)
def test_a_wrong_parameter_ends_in_one_line(start, tiny_weights, parameters, message):
    before = segments()
    process = start(**({'weights': tiny_weights} | parameters))
    output = process.finish()
    assert process.returncode == 1
    assert message in output and 'Traceback' not in output
    assert segments() <= before  # a supervisor that tries again and again fills no memory


def test_memory_stays_flat_and_drops_are_counted_under_200_hz(tiny_weights):
    seconds = float(os.environ.get('DEPTH_PRO_LOAD_S', '2'))
    with running_node(tiny_weights, wanted=('info',)) as (node, peer):
        durations = []
        (subscription,) = (each for each in node.subscriptions if each.topic_name == '/image')
        take = subscription.callback

        def timed(message):
            begun = time.perf_counter()
            take(message)
            durations.append(time.perf_counter() - begun)

        subscription.callback = timed
        message = rgb_message(picture(640, 480))
        end = time.monotonic() + seconds
        resident = []
        for index in range(int(seconds * 200)):
            time.sleep(max(0.0, end - seconds + index / 200 - time.monotonic()))
            peer.image.publish(message)
            if index % 100 == 99:
                resident.append(figures(os.getpid())[0])
        wait_until(lambda: node.health.frames_in > 0)
        wait_until(
            lambda: node.health.frames_in == node.health.frames_dropped + node.health.frames_out
        )
        health = node.health
    percentile = np.percentile(durations, 99) * 1e3
    print(
        f'{health.frames_in} frames in, {health.frames_out} out, {health.frames_dropped} dropped; '
        f'callback 99th percentile {percentile:.3f} ms; '
        f'resident {resident[0] / 2**20:.0f} -> {resident[-1] / 2**20:.0f} MiB'
    )
    assert len(durations) == health.frames_in > 0
    assert health.frames_dropped > 0
    assert resident[-1] < 1.05 * resident[0]


@pytest.mark.skipif(
    not rclpy.get_rmw_implementation_identifier().startswith('rmw_fastrtps'),
    reason='with a profile of Fast DDS',
)
def test_images_that_the_middleware_loses_are_told(tmp_path, monkeypatch, start, tiny_weights):
    profile = tmp_path / 'small_buffer.xml'  # for two datagrams: a larger image is lost
    profile.write_text(
        '<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">'
        '<transport_descriptors><transport_descriptor><transport_id>udp</transport_id>'
        '<type>UDPv4</type><receiveBufferSize>65536</receiveBufferSize></transport_descriptor>'
        '</transport_descriptors><participant profile_name="all" is_default_profile="true"><rtps>'
        '<useBuiltinTransports>false</useBuiltinTransports><userTransports>'
        '<transport_id>udp</transport_id></userTransports></rtps></participant></profiles>'
    )
    with monkeypatch.context() as patch:  # for the node alone
        for name in ('FASTRTPS', 'FASTDDS'):
            patch.setenv(f'{name}_DEFAULT_PROFILES_FILE', str(profile))
        start(weights=tiny_weights)
    with contexts(1) as (context,):
        camera = Peer(context, ())
        message = rgb_message(picture(1920, 1080))
        with spinning(camera):
            camera.create_timer(0.05, lambda: camera.image.publish(message))
            told = wait_until(lambda: camera.diagnostics().get('depth_pro: transport'), 60)[1]
        assert '% of the images on /image are lost on the way' in told
        assert 'qos_overrides./image.subscription.reliability: reliable' in told
        assert int(camera.diagnostics()['depth_pro: depth'][2]['lost on the way']) > 1
        camera.destroy_node()


def test_a_middleware_that_cannot_count_what_it_loses_still_delivers(monkeypatch, tiny_weights):
    events = pytest.importorskip('rclpy.event_handler', reason='named otherwise in Humble')
    known = events.SubscriptionEventCallbacks.create_event_handlers

    def refuse(self, *arguments):
        if self.message_lost:
            raise events.UnsupportedEventTypeError('no such event')
        return known(self, *arguments)

    monkeypatch.setattr(events.SubscriptionEventCallbacks, 'create_event_handlers', refuse)
    with running_node(tiny_weights) as (node, peer):
        peer.image.publish(rgb_message(picture(64, 48)))
        wait_until(lambda: peer.received['depth'])
