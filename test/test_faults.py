"""Bad peers over real DDS: after each of them the next good frame is answered.

The bad messages of a kind go to one running node, one after the other, each followed by a good one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_helpers import (
    contexts,
    header,
    make_node,
    met,
    picture,
    rgb_message,
    running_node,
    spinning,
    wait_until,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, Header, String
from test_messages import BAD_COMPRESSED, BAD_IMAGES, BAD_INFOS, HEIGHT, WIDTH, calibrated, plain
from test_node import answers

from depth_pro_ros.ros import diagnostics, stream
from depth_pro_ros.ros.messages import as_bytes

NAN = float('nan')

BAD_SIZES = {
    'one pixel': plain(width=1, height=1),
    'fifteen pixels': plain(width=15, height=15),
    'too wide': plain(width=8193, height=16, step=3 * 8193),
    'half the range': plain(width=2**31, height=1),
    'product overflows': plain(width=65536, height=65536, step=196608),
    'more rows than data': plain(height=HEIGHT + 1),
    'step of the whole range': plain(step=2**32 - 1),
    'one byte short': plain(data=plain().data[:-1]),
    'half the data': plain(data=plain().data[: len(plain().data) // 2]),
}
BAD_ENCODINGS = {
    f'encoding {encoding!r:.20}': plain(encoding=encoding)
    for encoding in (
        *(
            'RGB8',
            'rgb8 ',
            'rgb8; jpeg compressed',
            'jpeg',
            'h264',
            '8UC2',
            '8UC4',
            '16SC1',
            '64FC3',
        ),
        *('32FC3', 'bayer_rggb12', 'bayer_rggb', '../../etc/passwd', '%s%s%s%n', '🦊' * 10),
    )
} | {
    'nv12 without chroma': plain(encoding='nv12', step=WIDTH, data=[0] * (WIDTH * HEIGHT)),
    'bgra8 with the data of rgb8': plain(encoding='bgra8'),
    'mono16 with the step of mono8': plain(encoding='mono16', step=WIDTH),
}
BAD = {name: msg for name, (msg, _) in BAD_IMAGES.items()} | BAD_SIZES | BAD_ENCODINGS
"""Images to which there is no answer."""


def headed(**stamp_and_frame) -> Image:
    """Give a good image with an odd header."""
    stamp = Time(sec=stamp_and_frame.get('sec', 5), nanosec=stamp_and_frame.get('nanosec', 0))
    return plain(header=Header(stamp=stamp, frame_id=stamp_and_frame.get('frame_id', 'camera')))


ODD = {
    'stamp before 1970': headed(sec=-(2**31)),
    'stamp at the end of time': headed(sec=2**31 - 1),
    'nanoseconds of four seconds': headed(nanosec=2**32 - 1),
    'no stamp': headed(sec=0),
    'no frame': headed(frame_id='', sec=6),
    'frame of 100 kB': headed(frame_id='f' * 100_000),
    'frame that is a path': headed(frame_id='../../../etc/passwd'),
    'frame with control characters': headed(frame_id='a\nb\tc\x1b[31m'),
    'big-endian flag': plain(is_bigendian=1, header=header(999)),
    'as small as can be': rgb_message(picture(16, 16), 997),
    'flat': rgb_message(picture(333, 17), 996),
    'tall': rgb_message(picture(17, 333), 995),
    'more data than needed': plain(data=[1] * 5000, header=header(998)),
}
"""Images that are answered all the same, with their header."""

ODD_INFOS = {name: info for name, (info, _) in BAD_INFOS.items()} | {
    'focal length of 1e300': calibrated(k=[1e300, 0, 1, 0, 1e300, 1, 0, 0, 1], p=[0.0] * 12),
    'focal length of 1e-300': calibrated(k=[1e-300, 0, 1, 0, 1e-300, 1, 0, 0, 1], p=[0.0] * 12),
    'all zero': CameraInfo(),
    'size of the whole range': calibrated(width=2**32 - 1, height=2**32 - 1),
    'rotation of zeros': calibrated(r=[0.0] * 9),
    'a thousand coefficients': calibrated(d=[0.1] * 1000),
    'model of 100 kB': calibrated(distortion_model='m' * 100_000, d=[0.1]),
    'no model': calibrated(distortion_model='', d=[]),
    'time before 1970': calibrated(header=Header(stamp=Time(sec=-5))),
}

LENSES = {
    'unknown lens': calibrated(distortion_model='mirror', d=[0.1]),
    'too few coefficients': calibrated(d=[0.1, 0.2]),
    'too many coefficients': calibrated(d=[0.1] * 14),
    'enormous coefficients': calibrated(d=[1e30] * 5),
    'fisheye with enormous ones': calibrated(distortion_model='equidistant', d=[1e30] * 4),
}
"""Rectification of these fails or gives nothing of use."""


def good(index: int) -> Image:
    message = rgb_message(picture(64, 48), 5000 + index)
    message.header.frame_id = 'good'
    return message


def settled(node, count: int) -> bool:
    """Tell whether `count` frames came and the worker is done with them."""
    health = node.health
    return (
        health.frames_in >= count and health.frames_in == health.frames_out + health.frames_dropped
    )


def test_images(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        for index, (name, message) in enumerate(BAD.items()):
            count = node.health.frames_in
            peer.image.publish(message)
            wait_until(lambda count=count: settled(node, count + 1))
            answers(peer, good(index), ['depth'])
            problem = node.health._problems['input']
            assert problem.count == index + 1, name
            assert BAD_IMAGES.get(name, (None, ''))[1] in problem.message
        for name, message in ODD.items():
            depth = answers(peer, message, ['depth'])[0]
            assert depth.header == message.header, name
            assert (depth.width, depth.height) == (message.width, message.height), name
        assert 'empty frame_id' in node.health._problems['header'].message
        bad_headers = [message.header for message in BAD.values()]
        assert not [m for m in peer.received['depth'] if m.header in bad_headers]
        wait_until(lambda: 'depth_pro: header' in peer.diagnostics())  # the last of them
        statuses = peer.received['diagnostics'][-1].status
        causes = [status.name.removeprefix('depth_pro: ') for status in statuses]
        assert set(causes) <= {'depth', 'input', 'header', 'age'} and causes.count('input') == 1


def test_compressed_images(tiny_weights):
    import cv2

    data = as_bytes(cv2.imencode('.jpg', picture(32, 24))[1])
    with running_node(tiny_weights, wanted=('depth',), image_transport='compressed') as pair:
        node, peer = pair
        for index, (message, reason) in enumerate(BAD_COMPRESSED.values()):
            count = node.health.frames_in
            peer.compressed.publish(message)
            wait_until(lambda count=count: settled(node, count + 1))
            assert reason in node.health._problems['input'].message
            peer.compressed.publish(CompressedImage(header=header(index), format='jpeg', data=data))
            wait_until(
                lambda index=index: any(m.header == header(index) for m in peer.received['depth'])
            )
        assert set(node.health._problems) <= {'input', 'age'}


def show_infos(node, peer, infos) -> None:
    """Publish one CameraInfo after the other, and after each a frame that must be answered."""
    for index, (name, info) in enumerate(infos.items()):
        before = node.streams['']._info
        peer.info.publish(info)
        wait_until(lambda before=before: node.streams['']._info is not before)
        answers(peer, rgb_message(picture(64, 48), index), ['depth', 'info'])
        if name in BAD_INFOS:
            assert BAD_INFOS[name][1] in node.health._problems['camera_info'].message


def test_camera_infos(tiny_weights):
    with running_node(tiny_weights, wanted=('depth', 'info')) as (node, peer):
        show_infos(node, peer, ODD_INFOS)
        assert all(9 < message.k[0] < 64000 for message in peer.received['info'])
        assert set(node.health._problems) <= {'camera_info', 'age', 'calibration', 'distortion'}


def test_lenses_that_cannot_be_rectified(tiny_weights):
    with running_node(tiny_weights, wanted=('depth', 'info'), rectify=True) as (node, peer):
        for name, info in LENSES.items():
            before = node.streams['']._info
            peer.info.publish(info)
            wait_until(lambda before=before: node.streams['']._info is not before)
            count = node.health.frames_in
            peer.image.publish(rgb_message(picture(64, 48)))
            wait_until(lambda count=count: settled(node, count + 1))
            if name == 'unknown lens':
                assert "distortion model 'mirror'" in node.health._problems['input'].message
            show_infos(node, peer, {'good': calibrated()})
        assert set(node.health._problems) <= {'input', 'age', 'calibration'}


def test_peers_of_the_wrong_type(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (_, peer), contexts(1) as (other,):
        stranger = rclpy.create_node('stranger', context=other)
        wrong = [
            (stranger.create_publisher(String, 'camera_info', 1), String(data='640 480')),
            (stranger.create_publisher(Float64, 'image', 1), Float64(data=1.0)),
        ]
        stranger.create_subscription(CameraInfo, '/depth_pro/depth/image', print, 1)
        for index in range(3):
            for publisher, message in wrong:
                publisher.publish(message)
            answers(peer, good(index), ['depth'])
        stranger.destroy_node()


def test_time_that_goes_back_in_stamps_and_in_simulation(tiny_weights):
    with running_node(
        tiny_weights, wanted=('depth',), use_sim_time=True, max_age_s=1.0, warn_age_s=0.0
    ) as (node, peer):
        clock = peer.create_publisher(Clock, '/clock', 10)
        wait_until(clock.get_subscription_count)

        def set_time(seconds):
            clock.publish(Clock(clock=Time(sec=seconds)))
            wait_until(lambda: node.get_clock().now().nanoseconds == seconds * 10**9)

        def stamped(seconds):
            message = rgb_message(picture(32, 24))
            message.header.stamp = Time(sec=seconds)
            return message

        set_time(100)
        answers(peer, stamped(100), ['depth'])
        peer.image.publish(stamped(50))
        problem = wait_until(lambda: node.health._problems.get('stale'))
        assert 'a frame of 50.00 s is dropped (max_age_s 1)' in problem.message
        assert node.health.frames_dropped == 1
        set_time(50)  # the recording starts again
        problem = wait_until(lambda: node.health._problems.get('clock'))
        assert 'time went back by 50.00 s' in problem.message
        answers(peer, stamped(50), ['depth'])
        answers(peer, stamped(51), ['depth'])  # ahead of the clock
        assert len(peer.received['depth']) == 3


def test_a_publisher_that_vanishes_and_returns(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        answers(peer, good(0), ['depth'])
        for index in range(1, 4):
            peer.destroy_publisher(peer.image)
            wait_until(lambda: not node.count_publishers('image'))
            peer.image = peer.create_publisher(Image, 'image', 10)
            wait_until(peer.image.get_subscription_count)
            answers(peer, good(index), ['depth'])
        assert not [name for name in node.health._problems if name != 'age']


def test_a_storm_of_parameters(tiny_weights):
    changes = [
        ('max_depth', 50.0),
        ('cloud_stride', 3),
        ('edge_ratio', 1.1),
        ('max_rate_hz', 500.0),
        ('max_depth', -1.0),
        ('cloud_stride', 10**9),
        ('edge_ratio', 'text'),
        ('cameras', ['a', 'b']),
        ('no_such_parameter', 1),
        ('min_depth', NAN),
    ]
    with running_node(tiny_weights) as (node, peer):
        client = peer.create_client(SetParameters, '/depth_pro/set_parameters')
        assert client.wait_for_service(10.0)
        accepted = 0
        for index in range(20):
            peer.image.publish(good(index))
            futures = []  # one batch fits into the queue of a service
            for name, value in changes:
                message = Parameter(name, value=value).to_parameter_msg()
                futures.append(client.call_async(SetParameters.Request(parameters=[message])))
            wait_until(lambda futures=futures: all(future.done() for future in futures))
            accepted += sum(future.result().results[0].successful for future in futures)
        assert accepted == 4 * 20
        assert node.parameters.max_depth == 50.0 and node.parameters.cloud_stride == 3
        answers(peer, good(999))


def test_a_camera_that_sends_nothing_is_reported_by_its_topic(tiny_weights, monkeypatch):
    monkeypatch.setattr(stream, 'SILENCE_S', 1.0)
    monkeypatch.setattr(diagnostics, 'MEMORY_S', 0.5)
    with running_node(tiny_weights, wanted=('depth',)) as (_, peer):
        status = wait_until(lambda: peer.diagnostics().get('depth_pro: silence'))
        assert status[0] == 1 and 'no image on /image for' in status[1]
        timer = peer.create_timer(0.1, lambda: peer.image.publish(good(1)))
        wait_until(lambda: peer.diagnostics()['depth_pro: silence'][0] == 0)
        peer.destroy_timer(timer)


def test_a_second_node_of_the_same_name(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer), contexts(1) as (other,):
        answers(peer, good(0), ['depth'])
        twin = make_node(other, tiny_weights)
        with spinning(twin):
            wait_until(lambda: met(twin, peer) and peer.image.get_subscription_count() == 2)
            peer.received['depth'].clear()
            peer.image.publish(good(1))
            wait_until(lambda: len(peer.received['depth']) == 2)  # one of each
        twin.close()
        answers(peer, good(2), ['depth'])
        assert node.failure is None


SUBSCRIBER = """
import rclpy
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node('victim')
node.create_subscription(PointCloud2, '/depth_pro/points', lambda _: print('got', flush=True), 10)
rclpy.spin(node)
"""


def test_a_subscriber_that_is_killed(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        victim = subprocess.Popen(
            [sys.executable, '-c', SUBSCRIBER], stdout=subprocess.PIPE, text=True
        )
        points = node.streams[''].topics.outputs['points']
        wait_until(points.get_subscription_count, 40)
        answers(peer, good(0), ['depth'])
        assert victim.stdout.readline() == 'got\n'
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
        slowest = 0.0
        for index in range(1, 21):
            begun = time.monotonic()
            answers(peer, good(index), ['depth'])
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 5.0
        assert node.failure is None


def test_any_number_of_causes_of_trouble_fills_no_memory():
    from depth_pro_ros.ros.diagnostics import MAX_PROBLEMS, Health

    health = Health('node')
    for index in range(10 * MAX_PROBLEMS):
        health.problem(f'cause {index}', 'message')
    assert len(health.statuses()) == 1 + MAX_PROBLEMS
    assert health.statuses()[-1].name.startswith('node: cause')


def test_a_problem_of_every_frame_of_a_slow_computer_stays_in_sight(monkeypatch):
    from depth_pro_ros.ros.diagnostics import LONGEST_MEMORY_S, MEMORY_S, Health

    health, now = Health('node'), 0.0
    monkeypatch.setattr('depth_pro_ros.ros.diagnostics.time.monotonic', lambda: now)
    assert health.problem('stale', 'old')
    now = 1.5 * MEMORY_S
    assert health.problem('stale', 'old')  # it might have been over
    for _ in range(3):
        now += 1.4 * MEMORY_S
        assert health.statuses()[0].message == 'old'
        health.problem('stale', 'old')
    now += LONGEST_MEMORY_S
    assert health.statuses()[0].message != 'old'
    health.problem('stale', 'old')  # after a pause that is no reason to remember it as long
    now += LONGEST_MEMORY_S + 1.0
    assert health.statuses()[0].message != 'old'


def test_a_problem_that_lasts_is_logged_now_and_then_and_may_become_an_error(monkeypatch):
    from depth_pro_ros.ros.diagnostics import ERROR, MEMORY_S, WARN, Health

    health, now = Health('node'), 0.0
    monkeypatch.setattr('depth_pro_ros.ros.diagnostics.time.monotonic', lambda: now)
    logged = []
    for now in np.arange(0.0, 2.5 * MEMORY_S, 1.0):
        if health.problem('input', 'bad', WARN if now < MEMORY_S else ERROR):
            logged.append(now)
        assert health.statuses()[0].level == (WARN if now < MEMORY_S else ERROR)
    assert logged == [0.0, MEMORY_S + 1.0, 2 * MEMORY_S + 2.0]


def test_a_pause_does_not_count_as_a_low_rate(monkeypatch):
    from depth_pro_ros.ros.diagnostics import Health

    health, now = Health('node'), 0.0
    monkeypatch.setattr('depth_pro_ros.ros.diagnostics.time.monotonic', lambda: now)
    for pause_s in (0.0, 600.0):
        now += pause_s
        for _ in range(10):
            now += 0.5
            health.frame_in(replaced=False)
            health.frame_out(9.0 if pause_s == 0.0 else 0.1, 0.2)
    values = {value.key: value.value for value in health.statuses()[0].values}
    assert values['input rate (Hz)'] == values['output rate (Hz)'] == '2.00'
    assert values['latency median (ms)'] == '100.0'
    now += 10.0
    values = {value.key: value.value for value in health.statuses()[0].values}
    assert values['input rate (Hz)'] == '0.10'


@pytest.mark.parametrize(
    ('came', 'lost', 'times', 'share'),
    [(300, 2, 1, 0.02), (1, 1, 5, 0.0), (1, 1, 100, 0.5), (19, 1, 10, 0.05), (3, 4, 50, 0.57)],
)
def test_the_share_of_lost_images_is_of_the_newest_hundred(came, lost, times, share):
    from depth_pro_ros.ros.diagnostics import Health

    health = Health('node')
    for _ in range(times):
        for _ in range(came):
            health.image_came()
        told = health.images_missed(lost)
    assert told == pytest.approx(share, abs=0.02)
    values = {value.key: value.value for value in health.statuses()[0].values}
    assert values['lost on the way'] == str(lost * times)
