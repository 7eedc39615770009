"""The node over real DDS: a picture in; depth, CameraInfo and cloud out."""

from __future__ import annotations

import math
import re
import threading
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_helpers import contexts, header, picture, rgb_message, running_node, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from test_messages import (
    CHANNELS,
    calibrated,
    encode,
    smooth_picture,
)
from test_messages import image as image_of

from depth_pro_ros.camera import limit_depth
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.ros import diagnostics, stream
from depth_pro_ros.ros import messages as messages_module
from depth_pro_ros.ros.messages import as_bytes


def depth_array(message: Image) -> np.ndarray:
    """Read a 32FC1 image the way a consumer does."""
    assert message.encoding == '32FC1' and message.step == 4 * message.width
    return np.frombuffer(message.data, '<f4').reshape(message.height, message.width)


def cloud_arrays(message) -> tuple[np.ndarray, np.ndarray]:
    """Read points (H, W, 3) and RGB (H, W, 3) of a cloud by its declared fields."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)
    offsets = {field.name: field.offset for field in message.fields}
    points = [rows[..., offsets[n] : offsets[n] + 4].copy().view('<f4')[..., 0] for n in 'xyz']
    packed = rows[..., offsets['rgb'] : offsets['rgb'] + 4].copy().view('<u4')[..., 0]
    return np.stack(points, -1), np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], -1)


def answers(peer, message, names=('depth', 'info', 'points')):
    """Publish one image and give the outputs that came for it."""
    published_s = -math.inf

    def complete():
        nonlocal published_s
        if time.monotonic() - published_s > 2.0:  # a best-effort reader may have lost it
            peer.image.publish(message)
            published_s = time.monotonic()
        found = [[m for m in peer.received[n] if m.header == message.header] for n in names]
        return [each[0] for each in found] if all(found) else None

    return wait_until(complete)


@pytest.mark.parametrize('reliability', list(ReliabilityPolicy)[1:3], ids=lambda each: each.name)
def test_outputs_carry_the_header_of_the_image_to_both_kinds_of_subscriber(
    tiny_weights, reliability
):
    with running_node(tiny_weights, reliability=reliability) as (_, peer):
        message = rgb_message(picture(161, 121), 7)
        depth, info, cloud = answers(peer, message)
    assert depth.header == info.header == cloud.header == header(7)
    assert (depth.width, depth.height) == (info.width, info.height) == (161, 121)
    assert (cloud.width, cloud.height) == (81, 61)  # default stride of 2


def test_depth_is_the_estimators_and_the_cloud_its_unprojection(tiny_weights):
    rgb = picture(161, 121)
    expected = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32').predict(rgb)
    with running_node(tiny_weights, cloud_stride=3, min_depth=0.02, max_depth=9.0) as (_, peer):
        depth, info, cloud = answers(peer, rgb_message(rgb))
    z = depth_array(depth)
    in_range = (expected.depth_m >= 0.02) & (expected.depth_m <= 9.0)
    assert 0.05 < in_range.mean() < 1.0
    np.testing.assert_allclose(z[in_range], expected.depth_m[in_range], rtol=1e-4)
    assert (z[expected.depth_m > 9.0] == np.inf).all()
    assert (z[expected.depth_m < 0.02] == -np.inf).all()

    focal = 161 / 2 / math.tan(math.radians(expected.fov_deg) / 2)
    np.testing.assert_allclose(info.k, [focal, 0, 80, 0, focal, 60, 0, 0, 1], rtol=1e-5)
    np.testing.assert_allclose(info.p, [focal, 0, 80, 0, 0, focal, 60, 0, 0, 0, 1, 0], rtol=1e-5)
    assert info.distortion_model == 'plumb_bob' and list(info.d) == [0.0] * 5
    np.testing.assert_array_equal(info.r, np.eye(3).ravel())

    points, colours = cloud_arrays(cloud)
    assert cloud.height == 41 and cloud.width == 54 and not cloud.is_dense
    for v in range(41):
        for u in range(54):
            distance = float(z[3 * v, 3 * u])
            if math.isfinite(distance):
                x = (3 * u - info.p[2]) * distance / info.p[0]
                y = (3 * v - info.p[6]) * distance / info.p[5]
                np.testing.assert_allclose(points[v, u], [x, y, distance], rtol=1e-4, atol=1e-6)
            else:
                assert np.isnan(points[v, u]).all()
    np.testing.assert_array_equal(colours, rgb[::3, ::3])


def put_on_a_device(monkeypatch, seconds: float) -> threading.Event:
    """Let a picture take so long elsewhere, as on a GPU; gives what tells that one does."""
    predict, busy = DepthEstimator.predict, threading.Event()

    def on_a_device(self, rgb, focal_px=None, *, on_wait=lambda: None, **options):
        prediction = predict(self, rgb, focal_px, **options)
        on_wait()
        if options:  # not to warm up
            busy.set()
            time.sleep(seconds)
        return prediction

    monkeypatch.setattr(DepthEstimator, 'predict', on_a_device)
    return busy


def test_each_picture_has_its_own_depth_where_the_next_one_is_prepared_beside_it(
    tiny_weights, monkeypatch
):
    estimator = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32')
    rgbs = [picture(160, 120, seed) for seed in range(12)]
    expected = [limit_depth(estimator.predict(rgb, 100.0).depth_m, 0.0, 1e4) for rgb in rgbs]
    put_on_a_device(monkeypatch, 0.1)
    fixed = {'intrinsics': 'fixed', 'focal_px': 100.0, 'min_depth': 0.0, 'max_depth': 1e4}
    with running_node(tiny_weights, **fixed) as (node, peer):
        for index, rgb in enumerate(rgbs):
            peer.image.publish(rgb_message(rgb, index))
            time.sleep(0.04)
        health = node.health
        time.sleep(0.3)  # what comes has come
        wait_until(lambda: health.frames_in == health.frames_out + health.frames_dropped)
        count = health.frames_out
        wait_until(lambda: len(peer.received['points']) == len(peer.received['depth']) == count)
    assert 1 < count < 12
    stamps = [message.header.stamp.sec for message in peer.received['depth']]
    assert stamps == sorted(set(stamps))
    for message, cloud in zip(peer.received['depth'], peer.received['points'], strict=True):
        index = message.header.stamp.sec - header().stamp.sec
        assert message.header == cloud.header == header(index)
        np.testing.assert_allclose(depth_array(message), expected[index], rtol=1e-4)
        np.testing.assert_array_equal(cloud_arrays(cloud)[1], rgbs[index][::2, ::2])


def test_a_frame_that_was_prepared_in_time_but_waited_too_long_is_dropped(
    tiny_weights, monkeypatch
):
    busy = put_on_a_device(monkeypatch, 3.0)
    with running_node(tiny_weights, wanted=('depth',), max_age_s=2.0) as (node, peer):
        for index in range(2):
            message = rgb_message(picture(160, 120), index)
            message.header.stamp = peer.get_clock().now().to_msg()
            peer.image.publish(message)
            assert busy.wait(20)
        wait_until(lambda: node.health.frames_dropped == 1)
        problem = node.health._problems['stale']
        assert 'is dropped (max_age_s 2)' in problem.message
        wait_until(lambda: len(peer.received['depth']) == 1)
        assert peer.received['depth'][0].header.frame_id == header(0).frame_id


def test_camera_info_gives_the_focal_length_and_is_published(tiny_weights):
    rgb = picture(160, 120)
    estimator = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32')
    with running_node(tiny_weights, max_depth=10000.0, min_depth=0.0) as (node, peer):
        peer.info.publish(calibrated())  # 640 x 480, fx 500
        wait_until(lambda: node.streams['']._info)
        depth, info, _ = answers(peer, rgb_message(rgb))
        values = wait_until(lambda: peer.diagnostics().get('depth_pro: depth'))[2]
        wait_until(
            lambda: peer.diagnostics()['depth_pro: depth'][2].get('focal length (px)') == '125.0'
        )
        values = peer.diagnostics()['depth_pro: depth'][2]
    np.testing.assert_allclose(info.k[:6], [125, 0, 79.625, 0, 127.5, 59.625])
    np.testing.assert_allclose(
        depth_array(depth), estimator.predict(rgb, focal_px=125.0).depth_m, rtol=1e-4
    )
    assert values['focal length from'] == 'camera_info'
    assert values['device'].startswith('cpu')


def test_the_first_image_waits_for_the_calibration_that_comes_after_it(tiny_weights):
    with running_node(tiny_weights, wanted=('info',)) as (node, peer):
        info = peer.info  # advertised, and nothing said yet
        wait_until(node.streams[''].topics.has_info)
        peer.image.publish(rgb_message(picture(160, 120)))
        time.sleep(0.2)
        info.publish(calibrated())
        assert wait_until(lambda: peer.received['info'])[0].k[0] == 125.0
        node.enable(False)
        node.enable(True)  # another camera may be there now
        wait_until(lambda: node.health.state == 'running')
        assert node.streams['']._info is None


def test_a_calibration_that_never_comes_keeps_no_image_for_long(tiny_weights):
    with running_node(tiny_weights, wanted=('info',)) as (node, peer):
        assert peer.info
        wait_until(node.streams[''].topics.has_info)
        began = time.monotonic()
        peer.image.publish(rgb_message(picture(160, 120)))
        wait_until(lambda: peer.received['info'])
        assert 0.9 < time.monotonic() - began < 4.0
        began = time.monotonic()
        peer.image.publish(rgb_message(picture(160, 120), 1))
        wait_until(lambda: len(peer.received['info']) == 2)
        assert time.monotonic() - began < 0.9


def test_a_calibration_that_is_announced_and_never_comes_is_reported(tiny_weights, monkeypatch):
    monkeypatch.setattr(stream, 'SILENCE_S', 0.5)
    with running_node(tiny_weights, wanted=('info',)) as (_, peer):
        time.sleep(0.6)
        peer.image.publish(rgb_message(picture(160, 120)))
        wait_until(lambda: peer.received['info'])
        assert 'depth_pro: camera_info' not in peer.diagnostics()  # nobody publishes any
        assert peer.info
        peer.create_timer(0.1, lambda: peer.image.publish(rgb_message(picture(160, 120))))
        level, message, _ = wait_until(lambda: peer.diagnostics().get('depth_pro: camera_info'))
        assert level == 1 and 'nothing came on /camera_info' in message
    advice = dict(re.findall(r'(qos_overrides\S+): (\w+)', message))
    once = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with contexts(1) as (other,):
        static = rclpy.create_node('static', context=other)
        static.create_publisher(CameraInfo, '/camera_info', once).publish(calibrated())
        with running_node(tiny_weights, wanted=('info',), **advice) as (node, _):
            wait_until(lambda: node.streams['']._info)
        static.destroy_node()


def test_a_calibration_of_another_frame_is_reported(tiny_weights):
    with running_node(tiny_weights, wanted=('info',)) as (_, peer):
        info = calibrated()
        info.header.frame_id = 'infra_optical_frame'
        peer.info.publish(info)
        time.sleep(0.1)
        peer.image.publish(rgb_message(picture(160, 120)))
        _, message, _ = wait_until(lambda: peer.diagnostics().get('depth_pro: camera_info'))
        assert "frame 'infra_optical_frame', the image of 'camera_0_optical_frame'" in message
        assert wait_until(lambda: peer.received['info'])[0].k[0] == 125.0


def test_with_a_known_focal_length_camera_info_alone_needs_no_network(tiny_weights):
    with running_node(tiny_weights, wanted=('info',), intrinsics='fixed', focal_px=9.0) as pair:
        node, peer = pair
        node.engine.estimator.predict = None
        assert answers(peer, rgb_message(picture(64, 48)), ['info'])[0].k[0] == 9.0


def lens(model: str, distortion: list[float]) -> CameraInfo:
    """Give a calibration whose rectified camera differs from the raw one."""
    info = calibrated(distortion_model=model, d=distortion)
    info.p = [400.0, 0.0, 310.0, -48.0, 0.0, 410.0, 250.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def test_a_rectified_image_is_described_by_its_projection(tiny_weights):
    with running_node(tiny_weights) as (node, peer):
        peer.info.publish(lens('plumb_bob', [-0.2, 0.05, 0.0, 0.0, 0.0]))
        wait_until(lambda: node.streams['']._info)
        depth, info, cloud = answers(peer, rgb_message(picture(640, 480)))
    np.testing.assert_array_equal(info.k, [400, 0, 310, 0, 410, 250, 0, 0, 1])
    np.testing.assert_array_equal(info.p, [400, 0, 310, 0, 0, 410, 250, 0, 0, 0, 1, 0])
    assert list(info.d) == [0.0] * 5
    points, z = cloud_arrays(cloud)[0], depth_array(depth)
    v, u = np.argwhere(np.isfinite(points[..., 2]))[0]
    assert points[v, u, 0] == pytest.approx((2 * u - 310) * z[2 * v, 2 * u] / 400, rel=1e-4)


def test_a_raw_image_is_described_by_its_lens(tiny_weights):
    with running_node(tiny_weights) as (node, peer):
        node.streams[''].topics.image = '/camera/image_raw/compressed'  # as if it came there
        peer.info.publish(lens('plumb_bob', [-0.2, 0.05, 0.0, 0.0, 0.0]))
        wait_until(lambda: node.streams['']._info)
        _, info, _ = answers(peer, rgb_message(picture(640, 480)))
        np.testing.assert_array_equal(info.k, lens('plumb_bob', [0.0] * 5).k)
        warning = wait_until(lambda: peer.diagnostics().get('depth_pro: distortion'))[1]
        assert 'right in the middle of the image alone; set rectify: true' in warning


@pytest.mark.parametrize(
    ('model', 'distortion'),
    [
        ('plumb_bob', [-0.2, 0.05, 0.001, -0.001, 0.0]),
        ('rational_polynomial', [0.3, 0.1, 0.0, 0.0, 0.0, 0.5, 0.2, 0.1]),
        ('equidistant', [0.05, 0.01, 0.0, 0.0]),
        ('equidistant', [0.0, 0.0, 0.0, 0.0]),  # a fisheye all the same
        ('plumb_bob', [0.0, 0.0, 0.0, 0.0, 0.0]),  # of which P is another camera than K
        ('rational_polynomial', []),
    ],
)
def test_a_distorted_image_is_rectified_on_request(tiny_weights, model, distortion):
    rgb, info = picture(640, 480), lens(model, distortion)
    k, p = np.reshape(info.k, (3, 3)), np.reshape(info.p, (3, 4))[:, :3]
    rays = np.stack(np.meshgrid(np.arange(640.0), np.arange(480.0)), -1).reshape(-1, 1, 2)
    rays = (rays - p[:2, 2]) / p[[0, 1], [0, 1]]
    if model == 'equidistant':
        source = cv2.fisheye.distortPoints(rays, k, np.array(distortion))
    else:
        homogeneous = cv2.convertPointsToHomogeneous(rays)
        source = cv2.projectPoints(
            homogeneous, np.zeros(3), np.zeros(3), k, np.array(distortion or [0.0] * 4)
        )[0]
    where = source.reshape(480, 640, 2).astype(np.float32)
    expected = cv2.remap(rgb, where, None, cv2.INTER_LINEAR)
    with running_node(tiny_weights, rectify=True, cloud_stride=1, min_depth=0.0) as (node, peer):
        seen = []
        predict = node.engine.estimator.predict
        node.engine.estimator.predict = lambda rgb, focal, **options: (
            seen.append((rgb, focal)) or predict(rgb, focal, **options)
        )
        peer.info.publish(info)
        wait_until(lambda: node.streams['']._info)
        depth = answers(peer, rgb_message(rgb), ['depth'])[0]
    rectified, focal = seen[-1]
    assert focal == 400.0
    inside = np.all((where > 1) & (where < [638, 478]), axis=-1)
    outside = np.any((where < -1) | (where > [640, 480]), axis=-1)
    assert np.abs(rectified[inside].astype(int) - expected[inside].astype(int)).max() <= 8
    assert np.isnan(depth_array(depth)[outside]).all()
    assert not np.isnan(depth_array(depth)[inside]).any()


def test_fixed_and_required_intrinsics(tiny_weights):
    with running_node(tiny_weights, intrinsics='fixed', focal_px=321.0) as (_, peer):
        assert answers(peer, rgb_message(picture(160, 120)))[1].k[0] == 321.0
    with running_node(tiny_weights, intrinsics='camera_info') as (node, peer):
        peer.image.publish(rgb_message(picture(160, 120)))
        status = wait_until(lambda: peer.diagnostics().get('depth_pro: input'))
        assert status[0] == 2 and 'no calibration on camera_info' in status[1]
        assert not peer.received['depth']
        peer.info.publish(calibrated())
        wait_until(lambda: node.streams['']._info)
        assert answers(peer, rgb_message(picture(160, 120), 1))[1].k[0] == 125.0


def test_sixteen_bit_depth(tiny_weights):
    with running_node(tiny_weights, depth_encoding='16UC1', max_depth=2.0) as (_, peer):
        depth, _, cloud = answers(peer, rgb_message(picture(64, 48)))
    millimetres = np.frombuffer(depth.data, '<u2').reshape(48, 64)
    points, _ = cloud_arrays(cloud)
    z = points[..., 2]
    assert depth.encoding == '16UC1' and depth.step == 128
    np.testing.assert_array_equal(millimetres[::2, ::2] == 0, np.isnan(z))
    np.testing.assert_allclose(millimetres[::2, ::2][~np.isnan(z)], 1000 * z[~np.isnan(z)], atol=1)


def test_compressed_images(tiny_weights):
    rgb = picture(160, 120)
    data = cv2.imencode('.png', rgb[..., ::-1])[1]
    expected = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32').predict(rgb)
    with running_node(
        tiny_weights, image_transport='compressed', min_depth=0.0, max_depth=10000.0
    ) as (_, peer):
        peer.compressed.publish(
            CompressedImage(header=header(4), format='png', data=as_bytes(data))
        )
        depth = wait_until(lambda: peer.received['depth'])[0]
    assert depth.header == header(4)
    np.testing.assert_allclose(depth_array(depth), expected.depth_m, rtol=1e-4)


def test_what_nobody_subscribes_to_is_not_computed(tiny_weights, monkeypatch):
    with running_node(tiny_weights, wanted=()) as (node, peer):
        calls = []
        node.engine.estimator.predict = lambda *args, **options: calls.append(args)
        for index in range(5):
            peer.image.publish(rgb_message(picture(64, 48), index))
        wait_until(lambda: node.health.frames_in == 5)
        time.sleep(0.3)
    assert not calls
    with running_node(tiny_weights, wanted=('color',)) as (node, peer):
        unwanted = []
        monkeypatch.setattr(
            messages_module, 'pack_cloud', lambda *args, **options: unwanted.append(args)
        )
        (color,) = answers(peer, rgb_message(picture(64, 48)), ['color'])
    assert color.encoding == 'rgb8' and (color.width, color.height) == (64, 48)
    assert np.frombuffer(color.data, np.uint8).std() > 10
    assert not unwanted


def set_parameters(peer, **values):
    """Set parameters through the node's own service, as `ros2 param set` does."""
    client = peer.create_client(SetParameters, '/depth_pro/set_parameters')
    assert client.wait_for_service(10.0)
    changes = [Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
    future = client.call_async(SetParameters.Request(parameters=changes))
    return wait_until(lambda: future.result()).results


def test_range_stride_and_rate_change_while_running(tiny_weights):
    with running_node(tiny_weights) as (node, peer):
        answers(peer, rgb_message(picture(64, 48), 0))
        for name, value in (('max_depth', 3), ('cloud_stride', 4), ('max_rate_hz', 50.0)):
            assert set_parameters(peer, **{name: value})[0].successful
        depth, _, cloud = answers(peer, rgb_message(picture(64, 48), 1))
        assert (cloud.width, cloud.height) == (16, 12)
        finite = depth_array(depth)[np.isfinite(depth_array(depth))]
        assert finite.max() <= 3.0
        for name, value, reason in (
            ('cloud_stride', 0, 'cloud_stride'),
            ('cloud_stride', 2.5, 'Wrong parameter type'),
            ('max_depth', 0.01, 'not less than max_depth'),
            ('max_depth', 20000, 'is outside of 0 to 10000'),
            ('max_depth', float('nan'), ''),
            ('max_rate_hz', -1.0, 'max_rate_hz'),
            ('weights', 'other', 'read-only'),
        ):
            result = set_parameters(peer, **{name: value})[0]
            assert not result.successful and reason in result.reason, (name, value, result)
        assert node.parameters.cloud_stride == 4 and node.parameters.max_depth == 3.0


def test_the_rate_is_limited_and_a_change_takes_effect_at_once(tiny_weights):
    with running_node(tiny_weights, wanted=('info',), max_rate_hz=5.0) as (node, peer):
        begun = time.monotonic()
        for index in range(60):
            peer.image.publish(rgb_message(picture(32, 24), index))
            time.sleep(0.02)
        most = 5.0 * (time.monotonic() - begun) + 2
        assert 1 <= node.health.frames_out <= most
        assert set_parameters(peer, max_rate_hz=1e-9)[0].successful
        time.sleep(0.5)
        assert set_parameters(peer, max_rate_hz=0)[0].successful
        answers(peer, rgb_message(picture(32, 24), 99), ['info'])


def test_the_newest_frame_wins_and_drops_are_counted(tiny_weights):
    with running_node(tiny_weights, wanted=('info',)) as (node, peer):
        predict = node.engine.estimator.predict

        def slow(*args, **options):
            time.sleep(0.2)
            return predict(*args, **options)

        node.engine.estimator.predict = slow
        for index in range(40):
            peer.image.publish(rgb_message(picture(32, 24), index))
            time.sleep(0.01)
        answers(peer, rgb_message(picture(32, 24), 99), ['info'])
        health = node.health
        time.sleep(0.3)  # what comes has come
        wait_until(lambda: health.frames_in == health.frames_out + health.frames_dropped)
        assert health.frames_dropped > health.frames_out > 0
        order = [m.header.stamp.sec for m in peer.received['info']]
        assert order == sorted(order)


def test_every_encoding_is_answered(tiny_weights):
    rgb = smooth_picture()
    with running_node(tiny_weights, intrinsics='fixed', focal_px=30.0) as (_, peer):
        plain = depth_array(answers(peer, rgb_message(rgb, 999))[0])
        for index, encoding in enumerate(sorted(CHANNELS)):
            rows = encode(rgb, encoding)
            if encoding.endswith('16'):
                rows = (rows.astype('<u2') * 257).view(np.uint8)
            message = image_of(encoding, rows, padding=3)
            message.header = header(index)
            depth = depth_array(answers(peer, message)[0])
            if encoding in ('bgr8', 'rgba8', 'bgra8', 'rgb16', 'bgr16'):
                np.testing.assert_array_equal(depth, plain)


def test_an_old_stamp_is_reported(tiny_weights):
    with running_node(tiny_weights) as (_, peer):
        answers(peer, rgb_message(picture(32, 24)))
        status = wait_until(lambda: peer.diagnostics().get('depth_pro: age'))
        assert status[0] == 1 and 's old when published' in status[1]


def test_an_incompatible_peer_is_reported_while_it_is_there(tiny_weights, monkeypatch):
    monkeypatch.setattr(diagnostics, 'MEMORY_S', 1.5)
    with running_node(tiny_weights) as (_, peer):
        wait_until(peer.diagnostics)
        assert not [name for name in peer.diagnostics() if 'qos' in name]
        wants_history = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        late = peer.create_subscription(Image, '/depth_pro/depth/image', print, wants_history)
        careless = peer.create_publisher(CameraInfo, 'camera_info', 1)
        name = 'depth_pro: qos of /depth_pro/depth/image'
        status = wait_until(lambda: peer.diagnostics().get(name))
        assert 'a volatile publisher and a transient-local subscriber' in status[1]
        assert len([name for name in peer.diagnostics() if 'qos' in name]) == 1
        peer.destroy_subscription(late)
        peer.destroy_publisher(careless)
        wait_until(lambda: peer.diagnostics()[name][:2] == (0, 'not any more'))
        assert peer.diagnostics()['depth_pro: depth'][:2] == (0, 'running')


def test_quality_of_service_is_overridden_by_parameters(tiny_weights):
    overrides = {'qos_overrides./image.subscription.reliability': 'reliable'}
    with running_node(tiny_weights, **overrides) as (node, peer):
        (image,) = (each for each in node.subscriptions if each.topic_name == '/image')
        assert image.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        answers(peer, rgb_message(picture(32, 24)))
