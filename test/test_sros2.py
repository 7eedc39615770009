"""The policy of docs/sros2.md against the graph of a running node; what a peer cannot reach."""

from __future__ import annotations

import ast
import os
import re
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import contexts, make_node, spinning, wait_until

from depth_pro_ros.ros.parameters import specs

ROOT = Path(__file__).parents[1]
NEWER = {'/depth_pro/get_type_description'}  # not in Humble


def policy() -> dict[str, set[str]]:
    """Give the allowed names of the policy by kind of access, with ~ resolved."""
    text = re.search('```xml\n(.+?)```', (ROOT / 'docs' / 'sros2.md').read_text(), re.S)[1]
    allowed = {}
    for group in ElementTree.fromstring(text).iter():
        for kind in ('subscribe', 'publish', 'reply', 'request'):
            if group.get(kind) == 'ALLOW':
                names = {each.text.strip() for each in group}
                allowed[kind] = {
                    name.replace('~', '/depth_pro') if name[0] == '~' else f'/{name}'
                    for name in names
                }
    return allowed


def graph(node) -> dict[str, set[str]]:
    """Give the names that a node uses by kind of access, with its own name as depth_pro."""
    me = (node.get_name(), node.get_namespace())
    found = {
        # of its own knowledge: the graph may be late
        'subscribe': [(each.topic_name, ()) for each in node.subscriptions],
        'publish': node.get_publisher_names_and_types_by_node(*me),
        'reply': node.get_service_names_and_types_by_node(*me),
        'request': node.get_client_names_and_types_by_node(*me),
    }
    return {
        kind: {name.replace(f'/{me[0]}/', '/depth_pro/') for name, _ in entries} - NEWER
        for kind, entries in found.items()
    }


def test_the_policy_is_exactly_what_the_node_uses(tiny_weights):
    assert os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') == 'LOCALHOST' or (
        os.environ.get('ROS_LOCALHOST_ONLY') == '1'
    )
    allowed = {kind: names - NEWER for kind, names in (policy() | {'request': set()}).items()}
    used: dict[str, set[str]] = {kind: set() for kind in allowed}
    for transport, anchor in (('raw', 'range'), ('compressed', 'scan')):
        seen: dict[str, set[str]] = {}
        # a name of its own: of two nodes of one name, the graph may show one that has gone
        name = ['--ros-args', '-r', f'depth_pro:__node:=depth_pro_{transport}']
        with contexts(1) as (context,):
            node = make_node(
                context,
                tiny_weights,
                cli_args=name,
                image_transport=transport,
                scale_anchor=anchor,
                scan_pose=[0.0, 0.1, 0.0, 1.5708, -1.5708, 0.0],
                use_sim_time=True,
            )
            with spinning(node):
                wait_until(lambda node=node: node.health.state == 'running', 60)
                end_s = time.monotonic() + 20  # the graph is late where the machine is busy
                while time.monotonic() < end_s:
                    before, seen = seen, graph(node)
                    whole = all(seen[kind] >= allowed[kind] for kind in ('publish', 'reply'))
                    if whole and seen == before:
                        break
                    time.sleep(0.1)
            node.close()
        for kind, names in seen.items():
            used[kind] |= names
    assert used == allowed


def test_nothing_of_ours_executes_what_it_reads():
    for path in (ROOT / 'depth_pro_ros').rglob('*.py'):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            assert name not in ('eval', 'exec', 'pickle.load', 'pickle.loads', 'os.system'), path
            options = {each.arg: ast.unparse(each.value) for each in call.keywords}
            if name == 'torch.load':
                assert options.get('weights_only') == 'True', path
            if name.endswith('np.load'):
                assert options.get('allow_pickle', 'False') == 'False', path


def test_what_names_files_is_read_only():
    for name in ('weights', 'device', 'calibration_folder', 'cameras'):
        assert not specs()[name][1].dynamic, name
