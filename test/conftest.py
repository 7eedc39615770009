"""Fixtures shared by the tests; ROS tests run on a DDS domain of their own, on this machine."""

from __future__ import annotations

import os

os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 90 + 10)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
if os.environ.get('ROS_DISTRO') == 'humble':
    os.environ['ROS_LOCALHOST_ONLY'] = '1'
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import pytest
from networks import TINY_SHARED, lively_network

from depth_pro_ros.network.checkpoint import save_network


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory) -> str:
    """Give a file of our own layout with a tiny network whose depth varies."""
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(path, lively_network(TINY_SHARED), record={'data': 'none, random weights'})
    return str(path)
