"""The compressed outputs and honest depth, over DDS as a consumer sees them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

import rclpy
from ros_helpers import contexts, header, picture, rgb_message, running_node, wait_until
from sensor_msgs.msg import LaserScan, Range
from test_messages import calibrated
from test_node import answers, cloud_arrays, depth_array
from test_scale import CAMERA, floor_depth

from depth_pro_ros.camera import Intrinsics
from depth_pro_ros.compressed_depth import decode_depth
from depth_pro_ros.estimator import DepthPrediction
from depth_pro_ros.ros.anchors import SILENCE_S, Measurements, compare, nearest, refusal
from depth_pro_ros.ros.diagnostics import Health
from depth_pro_ros.ros.parameters import NodeParameters
from depth_pro_ros.ros.stream import CameraStream, Frame
from depth_pro_ros.scale import LEAST, ScaleError
from depth_pro_ros.scan import depth_at_points, scan_points


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_thin_links_get_the_same_depth(tiny_weights, encoding):
    wanted = ('depth', 'compressed_depth', 'color', 'compressed_color')
    with running_node(tiny_weights, wanted=wanted, depth_encoding=encoding, max_depth=5.0) as pair:
        message = rgb_message(picture(96, 64))
        depth, thin, color, jpeg = answers(pair[1], message, wanted)
    assert thin.header == jpeg.header == header()
    assert thin.format == f'{encoding}; compressedDepth png'
    found = decode_depth(bytes(thin.data), encoding)
    if encoding == '16UC1':
        np.testing.assert_array_equal(found, np.frombuffer(depth.data, '<u2').reshape(64, 96))
    else:
        expected = depth_array(depth)
        known = np.isfinite(expected)
        np.testing.assert_array_equal(known, np.isfinite(found))
        assert 0.05 < known.mean() < 1.0
        np.testing.assert_allclose(found[known], expected[known], rtol=1e-2)
    assert 'jpeg' in jpeg.format
    plain = np.frombuffer(color.data, np.uint8).reshape(64, 96, 3)
    expected = cv2.imdecode(cv2.imencode('.jpg', plain[..., ::-1])[1], cv2.IMREAD_COLOR)
    found = cv2.imdecode(np.asarray(jpeg.data), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(found, expected)


def test_flying_pixels_are_in_no_cloud(tiny_weights):
    message = rgb_message(picture(96, 64))
    wanted = ('depth', 'points')
    depths = {}
    for ratio in (0.0, 2.0):
        with running_node(
            tiny_weights, wanted=wanted, edge_ratio=ratio, cloud_stride=1, max_depth=10000.0
        ) as (_, peer):
            depth, cloud = answers(peer, message, wanted)
            depths[ratio] = depth_array(depth)
            np.testing.assert_array_equal(
                np.isnan(cloud_arrays(cloud)[0][..., 2]), ~np.isfinite(depths[ratio])
            )
    removed = np.isnan(depths[2.0])
    assert not np.isnan(depths[0.0]).any() and 0.0 < removed.mean() < 0.9
    np.testing.assert_allclose(depths[2.0][~removed], depths[0.0][~removed])


def test_a_rangefinder_sets_the_scale_and_an_implausible_one_does_not(tiny_weights):
    with running_node(
        tiny_weights,
        wanted=('depth',),
        scale_anchor='range',
        intrinsics='fixed',
        focal_px=80.0,
        min_depth=0.0,
        max_depth=10000.0,
    ) as (node, peer):
        sensor = peer.create_publisher(Range, 'range', 10)
        message = rgb_message(picture(96, 64))
        plain = depth_array(answers(peer, message, ['depth'])[0])
        center = float(np.median(plain[30:34, 46:50]))

        def measure(factor, first):
            found = Range(header=header(), field_of_view=0.02, max_range=1000.0)
            found.radiation_type = Range.INFRARED
            found.range = factor * center
            stream = node.streams['']
            for index in range(first, first + LEAST + 3):
                message.header.stamp.nanosec = index
                found.header.stamp.nanosec = index
                sensor.publish(found)
                wait_until(lambda: stream._measured and stream._measured[-1].header == found.header)
                answers(peer, message, ['depth'])
            assert stream._measured[-1].range == pytest.approx(found.range)
            return depth_array(answers(peer, message, ['depth'])[0])

        assert np.isfinite(plain).all()
        np.testing.assert_allclose(measure(20.0, 1), plain, rtol=1e-5)
        assert 'implausible and refused' in node.health._problems['scale'].message
        scaled = measure(1.25, 100)
        peer.received['depth'].clear()
        np.testing.assert_allclose(np.median(scaled / plain), 1.25, rtol=0.05)
        anchor = node.streams['']._anchor
        assert node.health._facts['scale factor'] == f'{anchor.factor:.3f}'
        assert len(anchor._logs) == LEAST + 3  # the last range was there for two frames
        before = anchor.factor
        object.__setattr__(node.parameters, 'focal_px', 90.0)
        message.header.stamp.nanosec = 200
        answers(peer, message, ['depth'])
        assert anchor.factor == pytest.approx(before) and len(anchor._logs) < LEAST


class Shown:
    """The stream of a camera to which frames are shown, with answers of the network made up."""

    def __init__(self, node) -> None:
        self.stream = CameraStream(node, '', Health('node'))
        self.stream.topics.wanted = lambda: {'depth'}
        self.count = 0

    def show(self, depth_m, network_px=120.0, info=None, frame_id='camera', range_m=None, **values):
        """Show a picture, with parameters; gives what the network saw, and the picture."""
        seen = []

        def predict(rgb, known_px, **options):
            seen.append(rgb)
            estimated = None if known_px else network_px
            return DepthPrediction(depth_m.copy(), known_px or network_px, 0.0, False, estimated)

        self.count += 1
        height, width = depth_m.shape
        noise = np.random.default_rng(self.count).integers(-3, 4, (height, width, 3))
        image = rgb_message((128 + noise).astype(np.uint8), self.count)
        image.header.frame_id = frame_id
        measured = range_m and Range(header=image.header, max_range=100.0, range=range_m)
        frame = Frame(image, info, measured, 0.0, self.stream._generation)
        prepared = self.stream.prepare(
            frame, SimpleNamespace(predict=predict), NodeParameters(**values)
        )
        assert prepared(lambda: None)() is None
        return seen[0], np.frombuffer(image.data, np.uint8).reshape(height, width, 3)

    @property
    def factor(self) -> float:
        return float(self.stream.health._facts['scale factor'])

    @property
    def problems(self) -> set[str]:
        return self.stream.health._problems.keys() - {'age'}


@pytest.fixture
def shown():
    with contexts(1) as (context,):
        node = rclpy.create_node('shown', context=context)
        yield Shown(node)
        node.destroy_node()


def test_the_height_of_the_camera_sets_the_scale_until_a_relock(shown):
    known = {'scale_anchor': 'height', 'camera_height_m': 1.0}
    fixed = {'intrinsics': 'fixed', 'focal_px': CAMERA.fx, **known}
    for _ in range(LEAST):
        shown.show(floor_depth(1.3, 10.0), **fixed)
    assert shown.factor == pytest.approx(1.0 / 1.3, rel=0.02) and not shown.problems
    assert shown.stream.health._facts['focal length from'] == 'fixed'
    shown.stream.lens.relock()
    shown.show(floor_depth(1.3, 10.0), **fixed)
    assert shown.factor == 1.0
    shown.show(floor_depth(1.3, 10.0), intrinsics='fov', **known)
    message = shown.stream.health._problems['scale focal length'].message
    assert 'give a calibration on camera_info' in message


def test_a_rangefinder_sets_the_scale_beside_a_focal_length_of_each_frame(shown):
    values = {'scale_anchor': 'range', 'intrinsics': 'fov', 'focal_lock': False}
    for index in range(LEAST):
        shown.show(floor_depth(9.0, 0.0), 110.0 + 20.0 * (index % 2), range_m=10.0, **values)
    assert shown.factor == 1.25  # of the wall at 8 m
    shown.show(floor_depth(9.0, 0.0)[:96, :128], **values)
    assert shown.factor == 1.0  # another size may be another part of what the lens sees


def test_frames_of_two_cameras_are_not_averaged(shown):
    flat = np.ones((48, 64), np.float32)
    averaged = {'still_frames': 2, 'intrinsics': 'fixed', 'focal_px': 60.0}
    same = [
        np.array_equal(*shown.show(flat, frame_id=frame_id, **averaged))
        for frame_id in ('front', 'front', 'rear')
    ]
    assert same == [True, False, True]


@pytest.mark.parametrize(('topic', 'told'), [('image', True), ('image_rect', False)])
def test_an_image_that_is_called_rectified_has_no_distortion(shown, topic, told):
    shown.stream.topics.image = f'/camera/{topic}'
    info = calibrated(d=[0.1] * 5)
    info.header.frame_id = 'camera'
    shown.show(np.ones((48, 64), np.float32), info=info, frame_id='/camera')  # tf takes it for one
    assert shown.problems == ({'distortion'} if told else set())


def test_a_laser_scan_sets_the_scale(tiny_weights):
    pose = [0.02, 0.01, 0.03, 1.5707963, -1.5707963, 0.0]
    with running_node(
        tiny_weights,
        wanted=('depth',),
        scale_anchor='scan',
        scan_pose=pose,
        intrinsics='fixed',
        focal_px=80.0,
        min_depth=0.0,
        max_depth=10000.0,
    ) as (node, peer):
        sensor = peer.create_publisher(LaserScan, 'scan', 10)
        message = rgb_message(picture(96, 64))
        plain = depth_array(answers(peer, message, ['depth'])[0])
        scan = LaserScan(header=header(), angle_min=-0.4, angle_increment=0.01, range_max=1000.0)
        scan.ranges = np.linspace(1.2, 1.8, 81) * float(np.median(plain))
        points = scan_points(scan.ranges, (-0.4, 0.01), (0.0, 1000.0), pose)
        true, estimated = depth_at_points(points, plain, Intrinsics.from_focal(80.0, 96, 64))
        stream = node.streams['']

        def show(index):
            message.header.stamp.nanosec = scan.header.stamp.nanosec = index
            sensor.publish(scan)
            wait_until(lambda: stream._measured and stream._measured[-1].header == scan.header)
            peer.received['depth'].clear()
            return depth_array(answers(peer, message, ['depth'])[0])

        for index in range(1, LEAST + 3):
            scaled = show(index)
        assert abs(true / estimated - 1.0) > 0.1
        np.testing.assert_allclose(scaled, plain * (true / estimated), rtol=1e-3)
        assert 'scale' not in node.health._problems
        scan.ranges = [1.0] * 3
        show(200)
        assert 'check scan_pose' in node.health._problems['scale'].message


@pytest.mark.parametrize(('range_m', 'measured'), [(0.1, 0), (0.2, 1), (3.9, 1), (4.0, 0)])
def test_at_its_limits_a_rangefinder_saw_nothing(range_m, measured):
    found = Range(header=header(), min_range=0.1, max_range=4.0, range=range_m)
    image = rgb_message(picture(32, 24))
    assert (refusal(found, image) is None) == bool(measured)
    image.header.stamp.nanosec += 300_000_000
    assert refusal(found, image)


def test_a_rangefinder_of_no_use_is_reported_after_a_while(monkeypatch):
    told, now_s = [], [0.0]
    monkeypatch.setattr('time.monotonic', lambda: now_s[0])
    measurements = Measurements(lambda cause, message: told.append((cause, message)))
    image = rgb_message(picture(32, 24))
    found = Range(header=header(), min_range=0.1, max_range=4.0, range=2.0)

    def take(measured, seconds):
        now_s[0] += seconds
        return measurements.take(measured, image)

    assert take(None, 0.0) is None and take(None, SILENCE_S) is None and not told
    assert take(found, 1.0) is found and not told
    assert take(found, SILENCE_S) is None and not told  # it was given already
    assert take(found, 1.0) is None
    late = Range(header=header(8), min_range=0.1, max_range=4.0, range=2.0)
    assert take(late, 1.0) is None and take(None, 1.0) is None
    assert [cause for cause, _ in told] == ['scale'] * 3
    for (_, message), reason in zip(told, ('nothing newer', 'stamp is +8.00 s', 'nothing came')):
        assert reason in message
    told.clear()
    assert take(None, SILENCE_S + 50.0) is None and not told  # nor was there an image
    assert take(None, SILENCE_S - 1.0) is None and not told
    assert take(None, 2.0) is None and len(told) == 1


def test_the_picture_of_depth_comes_with_it(tiny_weights):
    rgb = picture(96, 72)
    with running_node(tiny_weights, wanted=('picture', 'info'), intrinsics='camera_info') as pair:
        node, peer = pair
        peer.info.publish(calibrated())
        wait_until(lambda: node.streams['']._info)
        predict, node.engine.estimator.predict = node.engine.estimator.predict, None
        found, info = answers(peer, rgb_message(rgb), ('picture', 'info'))  # needs no network
        node.engine.estimator.predict = predict
    assert found.header == info.header == header() and found.encoding == 'rgb8'
    np.testing.assert_array_equal(np.frombuffer(found.data, np.uint8).reshape(72, 96, 3), rgb)


def test_of_many_measurements_that_of_the_time_of_the_image_counts():
    image = rgb_message(picture(64, 48), 5)
    measured = [Range(header=header(index), range=float(index)) for index in range(9)]
    assert nearest(measured, image).range == 5.0
    image.header.stamp.nanosec += 499_000_000
    assert nearest(reversed(measured), image).range == 5.0
    assert nearest([], image) is None
    blind, seen = (Range(header=header(5), max_range=4.0, range=value) for value in (4.0, 2.0))
    image.header.stamp.nanosec = blind.header.stamp.nanosec
    seen.header.stamp.nanosec += 100_000_000
    assert nearest([blind, seen], image).range == 2.0


@pytest.mark.parametrize(
    ('kind', 'fov_deg', 'estimated_m'),
    [
        (Range.INFRARED, 8.0, 2.0),
        (Range.INFRARED, 20.0, 9.0),
        (Range.ULTRASOUND, 20.0, 2.0),  # the nearest echo
    ],
)
def test_a_rangefinder_is_compared_with_what_its_cone_hits(kind, fov_deg, estimated_m):
    depth = np.full((120, 160), 9.0, np.float32)
    depth[50:70, 70:90] = 2.0
    found = Range(radiation_type=kind, field_of_view=math.radians(fov_deg), range=3.0)
    assert compare(found, depth, CAMERA, []) == (3.0, estimated_m)


@pytest.mark.parametrize(('limits', 'beams'), [((1.0, 9.0), 99), ((3.0, 9.0), 0), ((1.0, 1.5), 0)])
def test_beams_outside_of_the_limits_of_a_scan_do_not_count(limits, beams):
    scan = LaserScan(ranges=[2.0] * 99, angle_min=-0.49, angle_increment=0.01)
    scan.range_min, scan.range_max = limits
    ahead = (0.0, 0.0, 0.0, math.pi / 2, -math.pi / 2, 0.0)
    depth = np.full((120, 160), 2.0, np.float32)
    if beams:
        assert compare(scan, depth, CAMERA, ahead)[1] == 2.0
    else:
        with pytest.raises(ScaleError, match='^0 beams'):
            compare(scan, depth, CAMERA, ahead)
