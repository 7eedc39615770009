"""The demonstration, from photographs over DDS to the files it writes."""

from __future__ import annotations

import subprocess
import sys

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


def test_demo_says_when_the_node_dies(tmp_path):
    done = run_demo('--weights', str(tmp_path / 'absent.safetensors'), '--output', str(tmp_path))
    assert done.returncode == 1
    assert 'demo: the node ended with exit code 1' in done.stderr
    assert 'Traceback' not in done.stderr
