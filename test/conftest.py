"""Fixtures shared by the tests; ROS tests run on a DDS domain of their own, on this machine."""

from __future__ import annotations

import os

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # read when timm is imported

import pytest
from networks import TINY_SHARED, lively_network

from depth_pro_ros.network.checkpoint import save_network
from depth_pro_ros.ros.distributions import stay_on_this_machine

stay_on_this_machine()
os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 90 + 10)


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory) -> str:
    """Give a file of our own layout with a tiny network whose depth varies."""
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(path, lively_network(TINY_SHARED), record={'data': 'none, random weights'})
    return str(path)
