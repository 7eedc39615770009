"""The Fast DDS profile we ship: messages larger than its default shared memory arrive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

PROFILE = Path(__file__).resolve().parent.parent / 'config' / 'fastdds_large_messages.xml'
SIZE = 33_177_600  # a full-HD cloud of 16 bytes a point
COUNT = 5

CAMERA = f"""
import array, time, rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node('camera')
publisher = node.create_publisher(PointCloud2, 'large', qos_profile_sensor_data)
message = PointCloud2(data=array.array('B', bytes({SIZE})))
while publisher.get_subscription_count() == 0:
    time.sleep(0.05)
for message.width in range({COUNT}):
    publisher.publish(message)
    time.sleep(0.4)
time.sleep(2.0)
"""

CONSUMER = f"""
import time, rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node('consumer')
sizes = []
node.create_subscription(
    PointCloud2, 'large', lambda m: sizes.append(len(m.data)), qos_profile_sensor_data)
end = time.monotonic() + 20.0
while time.monotonic() < end and len(sizes) < {COUNT}:
    rclpy.spin_once(node, timeout_sec=0.1)
    if sizes and time.monotonic() < end - 8.0:
        end = time.monotonic() + 8.0
print(len(sizes), *set(sizes))
"""


@pytest.mark.skipif(
    not rclpy.get_rmw_implementation_identifier().startswith('rmw_fastrtps'),
    reason='the profile is for Fast DDS',
)
def test_a_best_effort_full_hd_cloud_passes_between_processes():
    room = os.statvfs('/dev/shm')
    if room.f_bavail * room.f_frsize < 3 * 134_217_728:
        pytest.skip('/dev/shm is too small for the profile')
    env = {**os.environ, 'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILE)}
    camera = subprocess.Popen([sys.executable, '-c', CAMERA], env=env)
    try:
        output = subprocess.check_output(
            [sys.executable, '-c', CONSUMER], env=env, text=True, timeout=60
        )
    finally:
        camera.kill()
        camera.wait()
    count, *sizes = (int(word) for word in output.split())
    assert sizes == [SIZE]
    assert count >= COUNT - 1  # the first may leave before the endpoints have matched
