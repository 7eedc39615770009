"""Looks at a running ROS graph for peers that cannot talk with our node."""

from __future__ import annotations

import time
from typing import NamedTuple

import rclpy
from diagnostic_msgs.msg import DiagnosticArray  # noqa: F401  the node needs it
from rclpy.duration import Infinite
from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo

from depth_pro_ros.doctor.check import Check
from depth_pro_ros.ros import topics

NODE = 'depth_pro'
DISCOVERY_S, SETTLE_S = 4.0, 2.0
"""How long other nodes are waited for, and how long for more once there is one."""
MOST_NAMES = 6
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, CLOUD = 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/PointCloud2'
INPUTS = {'/image': IMAGE, '/image/compressed': COMPRESSED, '/camera_info': INFO}
OUTPUTS = {
    f'/{NODE}/{topic}': f'sensor_msgs/msg/{kind.__name__}'
    for kind, topic in topics.OUTPUTS.values()
}
"""Topics of the node, without remappings, and their types."""
PUBLISHED, SUBSCRIBED = 'published', 'subscribed to'
INPUT_QOS, OUTPUT_QOS = (
    QoSProfile(
        depth=2, reliability=reliability, deadline=Infinite, liveliness_lease_duration=Infinite
    )
    for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE)
)
"""What the node asks for and offers, spelled as the graph spells that of a peer."""


Endpoints = dict[str, list[TopicEndpointInfo]]


class End(NamedTuple):
    """A publisher or subscription of ours."""

    topic: str
    kind: str
    qos: QoSProfile


def rmw_name() -> str:
    """Give the name of the middleware."""
    return str(rclpy.get_rmw_implementation_identifier())


def check_graph() -> list[Check]:
    """Compare type and QoS of our topics with those of every peer that is up.

    Where the node is not running, its topics are taken without remappings.
    """
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = Node('depth_pro_doctor', context=context, enable_rosout=False)
        end = time.monotonic() + DISCOVERY_S
        while time.monotonic() < end and len(node.get_node_names()) < 2:
            time.sleep(0.05)
        time.sleep(SETTLE_S)
        checks = examine(node)
        node.destroy_node()
        return checks
    finally:
        context.try_shutdown()


def examine(node: Node) -> list[Check]:
    """Look at the graph through a node."""
    others = {
        f'{namespace.rstrip("/")}/{name}'
        for name, namespace in node.get_node_names_and_namespaces()
    } - {node.get_fully_qualified_name()}
    if not others:
        return [Check('ROS graph', 'ok', 'no nodes are up (in this ROS_DOMAIN_ID)')]
    subscriptions = {
        topic: node.get_subscriptions_info_by_topic(topic)
        for topic, _ in node.get_topic_names_and_types()
    }
    publishers = {topic: node.get_publishers_info_by_topic(topic) for topic in subscriptions}
    running = next((name for name in sorted(others) if name.endswith(f'/{NODE}')), '')
    inputs = ends(subscriptions) if running else [End(*each, INPUT_QOS) for each in INPUTS.items()]
    outputs = ends(publishers) if running else [End(*each, OUTPUT_QOS) for each in OUTPUTS.items()]
    checks = [
        *compare(inputs, publishers, PUBLISHED),
        *compare(outputs, subscriptions, SUBSCRIBED),
    ]
    if not checks:
        found = f'up: {", ".join(sorted(others)[:MOST_NAMES])}'
        found += f' and {len(others) - MOST_NAMES} more' if len(others) > MOST_NAMES else ''
        found += '' if running else f'; our node, {NODE}, is not'
        found += '; no peer of our topics has another type or QoS'
        checks.append(Check('ROS graph', 'ok', found))
    return [*checks, *check_images(inputs, publishers, running)]


def ends(endpoints: Endpoints) -> list[End]:
    """Give those endpoints that are our node's."""
    return [
        End(topic, each.topic_type, each.qos_profile)
        for topic, infos in endpoints.items()
        for each in infos
        if each.node_name == NODE and each.topic_type in (IMAGE, COMPRESSED, INFO, CLOUD)
    ]


def compare(ours: list[End], peers: Endpoints, verb: str) -> list[Check]:
    """Give a check for each peer that no data pass to or from."""
    checks = []
    for end in ours:
        for peer in peers.get(end.topic, []):
            if peer.node_name != NODE and (fault := mismatch(end, peer, verb)):
                found = f'{end.topic} is {verb} by {peer.node_name} {fault[0]}: no data pass'
                checks.append(Check('ROS graph', 'warn', found, fault[1]))
    return checks


def mismatch(end: End, peer: TopicEndpointInfo, verb: str) -> tuple[str, str] | None:
    """Give what keeps a peer from talking with us and the remedy, or None."""
    if peer.topic_type != end.kind:
        remedy = 'remap one of the two'
        if peer.topic_type == COMPRESSED:
            remedy = 'set image_transport: compressed, and remap image/compressed to it'
        return f'as {peer.topic_type}, and we have {end.kind}', remedy
    ends = (peer.qos_profile, end.qos) if verb == PUBLISHED else (end.qos, peer.qos_profile)
    verdict, reason = qos_check_compatible(*ends)
    if verdict != QoSCompatibility.ERROR:
        return None
    reason = reason.removeprefix('ERROR: ').strip(' ;')
    return f'with another QoS ({reason})', 'change the peer, or set qos_overrides of our node'


def check_images(inputs: list[End], publishers: Endpoints, running: str) -> list[Check]:
    """Say where images are, unless they come to the node already, whose name is `running`."""
    wanted = [end.topic for end in inputs if end.kind in (IMAGE, COMPRESSED)]
    if any(publishers.get(topic) for topic in wanted):
        return []
    if not wanted:
        remedy = f'`ros2 lifecycle get {running}`: it must be active, and ~/enable must not be off'
        return [Check('ROS graph', 'warn', 'our node is up, but takes no images', remedy)]
    images = sorted(
        topic
        for topic, infos in publishers.items()
        if any(each.topic_type in (IMAGE, COMPRESSED) and each.node_name != NODE for each in infos)
    )
    remedy = f'images are on {", ".join(images)}: remap with image:=TOPIC' if images else ''
    found = f'nobody publishes images on {" or ".join(wanted)}'
    return [Check('ROS graph', 'warn' if running else 'ok', found, remedy)]
