"""Thousands of frames through one process: nothing grows.

Opt-in: DEPTH_PRO_SOAK_FRAMES=20000 (with the tiny network; DEPTH_PRO_SOAK_WEIGHTS=small for ours).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from rclpy.executors import SingleThreadedExecutor
from ros_helpers import Peer, contexts, figures, picture, rgb_message

FRAMES = int(os.environ.get('DEPTH_PRO_SOAK_FRAMES', '0'))
WARM_UP = 0.1
"""Share of the frames after which growth is measured."""
OUTPUTS = ('depth', 'info', 'points', 'compressed_depth', 'compressed_color')


@pytest.mark.skipif(not FRAMES, reason='opt-in: DEPTH_PRO_SOAK_FRAMES=20000')
def test_nothing_grows(tiny_weights):
    weights = os.environ.get('DEPTH_PRO_SOAK_WEIGHTS', tiny_weights)
    command = [sys.executable, '-m', 'depth_pro_ros.ros.main', '--ros-args']
    parameters = {'weights': weights, 'edge_ratio': 1.1, 'warn_age_s': 0.0, 'lock_check_s': 1.0}
    flags = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    node = subprocess.Popen([*command, *flags])
    samples = []
    messages = [rgb_message(picture(96, 72, seed), 0) for seed in range(8)]
    with contexts(1) as (context,):
        peer = Peer(context, OUTPUTS)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(peer)
        while not peer.image.get_subscription_count():
            executor.spin_once(0.1)
        begun = time.monotonic()
        for index in range(FRAMES):
            message = messages[index % len(messages)]
            message.header.stamp.sec = index
            if index % 100 == 0:  # a bad one in between
                message.encoding = 'nothing'
                peer.image.publish(message)
                message.encoding = 'rgb8'
            while not answered(peer, index):
                peer.image.publish(message)
                end = time.monotonic() + 5.0
                while not answered(peer, index) and time.monotonic() < end:
                    executor.spin_once(end - time.monotonic())
                assert node.poll() is None and time.monotonic() - begun < FRAMES + 60
            for each in peer.received.values():
                each.clear()
            if index % max(1, FRAMES // 40) == 0:
                samples.append(figures(node.pid))
        seconds = time.monotonic() - begun
        executor.shutdown()
        peer.destroy_node()
    node.terminate()
    assert node.wait(20) == 0
    settled = samples[int(WARM_UP * len(samples)) :]
    quarter = len(settled) // 4
    first, last = settled[: quarter + 1], settled[-quarter - 1 :]
    resident = [statistics.median(each[0] for each in part) for part in (first, last)]
    _, files, threads = zip(*settled, strict=True)
    growth = resident[1] / resident[0] - 1.0
    print(
        f'{FRAMES} frames in {seconds:.0f} s; resident {resident[0] / 2**20:.1f} -> '
        f'{resident[-1] / 2**20:.1f} MiB ({growth:+.2%}), '
        f'at most {max(each[0] for each in settled) / 2**20:.1f}; '
        f'files {files[0]} -> {files[-1]}; threads {threads[0]} -> {threads[-1]}'
    )
    assert growth < 0.02
    assert files[-1] <= files[0] and threads[-1] <= threads[0]


def answered(peer: Peer, index: int) -> bool:
    """Tell whether every output of a frame is there."""
    return all(
        any(message.header.stamp.sec == index for message in peer.received[name])
        for name in OUTPUTS
    )
