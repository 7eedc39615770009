"""The demonstration, from photographs over DDS to the files it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'depth_pro_ros.demo', *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_demo_writes_picture_cloud_and_table(tiny_weights, tmp_path):
    done = run_demo('--weights', tiny_weights, '--output', str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert cv2.imread(str(tmp_path / 'depth.png')).shape[0] == 4 * (360 + 8)
    header = (tmp_path / 'cloud.ply').read_bytes().split(b'end_header\n')[0].decode()
    assert f'{header.split("element vertex ")[1].split()[0]} points of hotel_door' in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if ' to ' in line and 'px' in line]
    assert [row[0] for row in rows] == ['hotel_door', 'hotel_desk', 'hotel_window', 'hotel_bed']
    assert all(int(row[3]) >= 5 for row in rows)


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_demo_takes_its_node_with_it(tiny_weights, tmp_path, number):
    command = [sys.executable, '-m', 'depth_pro_ros.demo', '--weights', tiny_weights]
    demo = subprocess.Popen(
        [*command, '--output', tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {'ROS_DISCOVERY_SERVER': '127.0.0.1:11811'},  # where there is none
    )
    assert 'hotel_door' in next(line for line in demo.stdout if 'answers at' in line)
    children = Path(f'/proc/{demo.pid}/task/{demo.pid}/children').read_text().split()
    demo.send_signal(number)
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 130 and 'Traceback' not in out + err
    assert children and not any(Path('/proc', child).exists() for child in children)


def test_demo_says_when_the_node_dies(tmp_path):
    done = run_demo('--weights', str(tmp_path / 'absent.safetensors'), '--output', str(tmp_path))
    assert done.returncode == 1
    assert 'demo: the node ended with exit code 1' in done.stderr
    assert 'Traceback' not in done.stderr
