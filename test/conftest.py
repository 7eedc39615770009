"""Fixtures shared by the tests; each runs on a DDS domain of its own, on this machine."""

from __future__ import annotations

import itertools
import os
import signal

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # read when timm is imported

import pytest
import torch
from networks import TINY_SHARED, lively_network

from depth_pro_ros.network.checkpoint import save_network
from depth_pro_ros.ros.distributions import stay_on_this_machine

stay_on_this_machine()
# a shell ignores it for what it runs in the background, and so would all processes of the tests
signal.signal(signal.SIGINT, signal.default_int_handler)
DOMAINS = itertools.cycle(range(10, 100))
for _ in range(os.getpid() % 90):
    next(DOMAINS)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('no NVIDIA GPU')


@pytest.fixture(autouse=True)
def own_domain() -> None:
    """Let no test hear the nodes of the one before it, which live until they are collected."""
    os.environ['ROS_DOMAIN_ID'] = str(next(DOMAINS))


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory) -> str:
    """Give a file of our own layout with a tiny network whose depth varies."""
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_network(path, lively_network(TINY_SHARED), record={'data': 'none, random weights'})
    return str(path)
