"""The presets for consumers: values that the node takes, topics that it publishes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from depth_pro_ros.ros.parameters import NodeParameters, specs

yaml = pytest.importorskip('yaml', reason='no PyYAML')

ROOT = Path(__file__).parents[1]
CONSUMERS = ('nav2', 'rtabmap', 'nvblox', 'octomap', 'laserscan')


@pytest.fixture(params=CONSUMERS)
def consumer(request) -> str:
    return request.param


def preset(consumer: str) -> dict:
    return yaml.safe_load((ROOT / 'config' / f'{consumer}.yaml').read_text())


def test_the_node_takes_every_value_and_none_is_a_default(consumer):
    values = preset(consumer)['/**/depth_pro']['ros__parameters']
    taken = NodeParameters().updated(values)
    assert taken.edge_ratio > 1.0 and taken.max_depth <= 10.0
    defaults = {name: default for name, (default, _) in specs().items()}
    if consumer not in ('nvblox', 'laserscan'):  # these name the encoding that they rely on
        assert not [name for name, value in values.items() if defaults[name] == value]


def test_nav2_is_told_what_it_needs():
    layer = preset('nav2')['local_costmap']['local_costmap']['ros__parameters']['obstacle_layer']
    marking, clearing = (layer[source] for source in layer['observation_sources'].split())
    for source in (marking, clearing):
        assert source['topic'] == '/depth_pro/points' and source['data_type'] == 'PointCloud2'
        assert source['max_obstacle_height'] > 0.0
    assert marking['marking'] and not marking['clearing']
    assert clearing['clearing'] and not clearing['marking']
    assert clearing['min_obstacle_height'] < 0.0 < marking['min_obstacle_height']
    depth = preset('nav2')['/**/depth_pro']['ros__parameters']['max_depth']
    assert clearing['raytrace_max_range'] <= depth


def test_every_launch_file_compiles_and_names_topics_of_the_node(consumer):
    pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')
    from depth_pro_ros.ros.topics import OUTPUTS

    text = (ROOT / 'launch' / f'{consumer}.launch.py').read_text()
    compile(text, consumer, 'exec')
    assert f"'{consumer}.yaml'" in text
    topics = re.findall(r"'depth_pro/([^']+)'", text)
    assert topics or consumer == 'nav2'
    assert set(topics) <= {topic for _, topic in OUTPUTS.values()}


def test_the_readme_names_every_preset(consumer):
    assert f'`{consumer}`' in (ROOT / 'README.md').read_text()
