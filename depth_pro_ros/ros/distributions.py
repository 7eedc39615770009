"""What differs between ROS distributions, or needs help in all of them, in one place.

Importing it needs no ROS.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifecycle_msgs.srv import ChangeState
    from rclpy.lifecycle import LifecycleNode
    from rclpy.node import Node
    from rclpy.subscription import Subscription


def stay_on_this_machine() -> None:
    """Keep this process's messages, and its children's, on this machine; before rclpy.init()."""
    for elsewhere in ('ROS_DISCOVERY_SERVER', 'ROS_SUPER_CLIENT', 'ROS_STATIC_PEERS'):
        os.environ.pop(elsewhere, None)
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def subscribe(
    node: Node, on_lost: Callable[[int], None] | None, *arguments: Any, **options: Any
) -> Subscription:
    """Subscribe, and let `on_lost` know how many more messages were lost, where that is known.

    arguments, options: of `create_subscription`.
    """
    if on_lost is None:
        return node.create_subscription(*arguments, **options)
    try:
        from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
    except ImportError:  # Humble
        from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

    def tell(lost: Any) -> None:
        on_lost(lost.total_count_change)

    events = SubscriptionEventCallbacks(message_lost=tell)
    try:
        return node.create_subscription(*arguments, **options, event_callbacks=events)
    except UnsupportedEventTypeError:  # not by every middleware
        return node.create_subscription(*arguments, **options)


def answer_refused_transitions(node: LifecycleNode) -> None:
    """Let a transition that the state does not allow be refused.

    rclpy (Humble to Kilted) lets it end the executor with an exception, and so the process: any
    peer could stop the node with one request.
    """
    service = node._service_change_state
    change_state = service.callback

    def refuse_or_change(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return change_state(request, response)
        except Exception as error:  # rclpy's own class has another name in each distribution
            node.get_logger().warning(f'transition refused: {error}')
            response.success = False
            return response

    service.callback = refuse_or_change
