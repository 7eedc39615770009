"""`depth_pro bag`: what is in the new bag, to the last byte."""

from __future__ import annotations

import dataclasses
import sqlite3
import statistics
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bag_helpers import (
    COMPRESSED,
    HEIGHT,
    IMAGE,
    INFO,
    OWN,
    PERIOD_NS,
    START_NS,
    TF,
    WIDTH,
    camera_bag,
    camera_info,
    compressed_image,
    make,
    picture,
    qos,
    raw_image,
    read_bag,
    read_connections,
    read_topic,
    transform,
    types,
    write_bag,
)
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import StoragePlugin, Writer

from depth_pro_ros.bags.cameras import Camera
from depth_pro_ros.bags.convert import convert_bag
from depth_pro_ros.bags.options import BagError, BagOptions
from depth_pro_ros.bags.outputs import output_bytes
from depth_pro_ros.bags.reading import Message, is_latched, open_bag
from depth_pro_ros.bags.survey import add_calibration, same_calibration, survey
from depth_pro_ros.camera import limit_depth
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.ros.parameters import NodeParameters

DEPTH, DEPTH_INFO, POINTS = (
    '/depth_pro/depth/image',
    '/depth_pro/depth/camera_info',
    '/depth_pro/points',
)


@pytest.fixture(scope='module')
def estimator(tiny_weights) -> DepthEstimator:
    return DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32')


@pytest.fixture
def convert(estimator, tmp_path):
    """Give a function that converts a bag with options and gives the path of the new one."""

    def run(source, output='out', **options):
        path = tmp_path / output
        run.report = convert_bag(
            source, path, BagOptions(**options), lambda: estimator, progress=False
        )
        return path

    return run


def depth_of(message) -> np.ndarray:
    assert message.encoding == '32FC1' and message.step == 4 * message.width
    assert len(message.data) == message.step * message.height
    return np.frombuffer(message.data, '<f4').reshape(message.height, message.width)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('into', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compressed', [False, True], ids=['raw', 'compressed'])
def test_original_topics_stay_and_depth_joins_them(
    convert, estimator, tmp_path, storage, into, compressed
):
    source = camera_bag(tmp_path / 'in', storage=storage, compressed=compressed)
    output = convert(source, storage=into)
    before, after = read_bag(source), read_bag(output)
    assert after.keys() - before.keys() == {DEPTH, DEPTH_INFO}
    assert {topic: after[topic] for topic in before} == before
    old, new = read_connections(source), read_connections(output)
    assert {topic: new[topic] for topic in old} == old  # types, definitions, hashes, QoS
    for topic in (DEPTH, DEPTH_INFO):
        (offered,) = new[topic][-1]
        assert offered.reliability == QosReliability.RELIABLE
        assert offered.durability == QosDurability.VOLATILE
    assert 'version: 8\n' in (output / 'metadata.yaml').read_text()  # which Humble plays
    suffix = {'mcap': '.mcap', 'sqlite3': '.db3'}[into]
    assert {path.name for path in output.iterdir()} == {'metadata.yaml', f'out{suffix}'}

    images = next(topic for topic in before if 'image_raw' in topic)
    assert [time for time, _ in after[DEPTH]] == [time for time, _ in before[images]]
    inputs = read_topic(source, images)
    for index, (image, depth, info) in enumerate(
        zip(inputs, read_topic(output, DEPTH), read_topic(output, DEPTH_INFO), strict=True)
    ):
        assert depth.header == image.header and info.header == image.header
        expected = estimator.predict(picture(index), 60.0).depth_m
        default = NodeParameters()
        expected = limit_depth(expected, default.min_depth, default.max_depth)
        np.testing.assert_array_equal(depth_of(depth), expected)
        assert (info.width, info.height, info.distortion_model) == (WIDTH, HEIGHT, 'plumb_bob')
        assert not info.d.any()
        np.testing.assert_array_equal(info.k, [60, 0, 30.5, 0, 61, 20.5, 0, 0, 1])
        np.testing.assert_array_equal(np.delete(info.p, [3, 7, 11]), info.k)
    assert convert.report.images == 6 and convert.report.failure() is None
    assert convert.report.focal == 'focal length 60.0 px (CameraInfo)'


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_every_publisher_of_a_topic_counts(convert, tmp_path, storage):
    """A camera that was started again with another QoS has a connection of its own."""
    source = tmp_path / 'in'
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    with Writer(source, version=9, storage_plugin=plugin) as writer:
        for first, offered in ((0, [qos()]), (3, [qos(QosReliability.BEST_EFFORT)])):
            for topic, kind, maker in (
                ('/camera/image_raw', IMAGE, raw_image),
                ('/camera/camera_info', INFO, lambda index: camera_info(index, 60.0 + index)),
            ):
                connection = writer.add_connection(
                    topic, kind, typestore=types, offered_qos_profiles=offered
                )
                for index in range(first, first + 3):
                    time_ns = START_NS + index * PERIOD_NS
                    writer.write(connection, time_ns, types.serialize_cdr(maker(index), kind))
    output = convert(source)
    assert len(read_bag(output)['/camera/image_raw']) == convert.report.images == 6
    assert [info.k[0] for info in read_topic(output, DEPTH_INFO)] == [60, 61, 62, 63, 64, 65]
    with pytest.raises(BagError, match=r'/camera/image_raw +sensor_msgs/msg/Image +6 messages$'):
        convert(source, 'again', topic='/other')


@pytest.mark.parametrize('name', ['one.mcap', 'one.db3'])
def test_a_name_with_the_suffix_of_a_storage_gives_one_file(convert, tmp_path, name):
    source = camera_bag(tmp_path / 'in')
    output = convert(source, name)
    assert output.is_file() and len(read_bag(output)[DEPTH]) == 6
    again = convert(output, f'again-{name}', namespace='/second')  # a file is a bag to read, too
    assert len(read_bag(again)['/second/depth/image']) == 6
    assert {path.name for path in tmp_path.iterdir()} == {'in', name, f'again-{name}'}


def test_compressed_depth_decodes_as_image_transport_does_and_keeps_its_range(
    convert, estimator, tmp_path
):
    source = camera_bag(tmp_path / 'in')
    near, far = np.percentile(estimator.predict(picture(0), 60.0).depth_m, (10, 90))
    limits = {'min_depth': float(near), 'max_depth': float(far)}
    plain = [depth_of(message) for message in read_topic(convert(source, **limits), DEPTH)]
    output = convert(source, 'small', compressed=True, **limits)
    assert DEPTH not in read_bag(output)
    for depth_m, message in zip(plain, read_topic(output, f'{DEPTH}/compressedDepth'), strict=True):
        assert message.format == '32FC1; compressedDepth png'
        kind, quant_a, quant_b = struct.unpack('<iff', bytes(message.data[:12]))
        stored = cv2.imdecode(message.data[12:], cv2.IMREAD_UNCHANGED)
        assert kind == 0 and stored.dtype == np.uint16
        with np.errstate(divide='ignore'):
            found = np.where(stored > 0, quant_a / (stored - quant_b), np.nan)
        known = np.isfinite(depth_m)
        assert 0 < known.sum() < known.size
        np.testing.assert_array_equal(np.isfinite(found), known)
        np.testing.assert_allclose(1 / found[known], 1 / depth_m[known], atol=1.6e-4)
        assert found[known].min() == pytest.approx(depth_m[known].min(), rel=1e-4)
        assert found[known].max() == pytest.approx(depth_m[known].max(), rel=1e-2)


def test_clouds_are_organized_and_lie_on_the_rays_of_their_camera_info(convert, tmp_path):
    output = convert(camera_bag(tmp_path / 'in', frames=2), points=True, cloud_stride=3)
    for index, (cloud, depth) in enumerate(
        zip(read_topic(output, POINTS), read_topic(output, DEPTH), strict=True)
    ):
        assert (cloud.width, cloud.height, cloud.point_step) == (22, 16, 16)
        assert cloud.header == depth.header and not cloud.is_dense
        assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
            ('x', 0, 7),
            ('y', 4, 7),
            ('z', 8, 7),
            ('rgb', 12, 7),
        ]
        rows = cloud.data.reshape(16, 22, 16)
        points = rows[..., :12].copy().view('<f4')
        z = depth_of(depth)[::3, ::3]
        z = np.where(np.isfinite(z), z, np.nan)
        np.testing.assert_array_equal(points[..., 2], z)
        np.testing.assert_allclose(points[..., 0], (np.arange(0, 64, 3) - 30.5) / 60 * z, rtol=1e-5)
        np.testing.assert_array_equal(rows[..., 12:15], picture(index)[::3, ::3, ::-1])
    size = len(depth.data) + len(cloud.data)
    assert output_bytes(WIDTH, HEIGHT, BagOptions(points=True, cloud_stride=3)) == size


def test_only_new_leaves_the_rest_out(convert, tmp_path):
    source = camera_bag(tmp_path / 'in')
    with open_bag(source) as bag:
        assert survey(bag, BagOptions(only_new=True)).copied_bytes == 0
    output = convert(source, only_new=True)
    assert {topic: len(messages) for topic, messages in read_bag(output).items()} == {
        DEPTH: 6,
        DEPTH_INFO: 6,
    }


def test_every_second_image_has_depth_and_every_topic_stays_whole(convert, tmp_path):
    output = convert(camera_bag(tmp_path / 'in', frames=7), every=2)
    found = read_bag(output)
    assert [time - START_NS for time, _ in found[DEPTH]] == [i * PERIOD_NS for i in (0, 2, 4, 6)]
    assert len(found['/camera/image_raw']) == 7


def test_a_stretch_keeps_what_was_latched_before_it(convert, tmp_path):
    source = camera_bag(tmp_path / 'in', frames=8)
    found = read_bag(convert(source, start_s=0.25, duration_s=0.3))
    inside = [index * PERIOD_NS + START_NS for index in (3, 4, 5)]
    for topic in ('/camera/image_raw', '/tf', DEPTH, DEPTH_INFO):
        assert [time for time, _ in found[topic]] == inside, topic
    latched = read_bag(source)['/tf_static']
    start_ns = START_NS + 250_000_000
    assert found['/tf_static'] == [(start_ns, data) for _, data in latched]


def test_tf_static_is_latched_whatever_its_qos(tmp_path):
    topics = {topic: (TF, [(0, transform(0, 'camera'))]) for topic in ('/tf', '/robot/tf_static')}
    with open_bag(write_bag(tmp_path / 'in', topics)) as bag:
        assert [c.topic for c in bag.connections if is_latched(c)] == ['/robot/tf_static']


def test_without_camera_info_one_focal_length_holds_for_the_whole_bag(convert, estimator, tmp_path):
    output = convert(camera_bag(tmp_path / 'in', info=False))
    estimates = [estimator.predict(picture(index)).focal_px for index in range(6)]
    assert max(estimates) > 1.001 * min(estimates)  # or nothing would be proved
    focals = {float(info.k[0]) for info in read_topic(output, DEPTH_INFO)}
    (focal,) = focals
    assert min(estimates) < focal < max(estimates)
    assert focal == pytest.approx(statistics.median(estimates), rel=1e-3)
    expected = estimator.predict(picture(4), focal).depth_m
    inside = (expected > 0.1) & (expected < 100)
    found = depth_of(read_topic(output, DEPTH)[4])
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-5)
    assert 'field-of-view head' in convert.report.focal


def test_a_given_focal_length_wins_over_camera_info(convert, tmp_path):
    output = convert(camera_bag(tmp_path / 'in'), focal_px=99.0)
    info = read_topic(output, DEPTH_INFO)[0]
    np.testing.assert_array_equal(info.k, [99, 0, 31.5, 0, 99, 23.5, 0, 0, 1])


@pytest.mark.parametrize('late', [False, True], ids=['before', 'after its image'])
def test_a_zoom_is_followed_by_the_stamp_of_camera_info(convert, tmp_path, late):
    images = [(index * PERIOD_NS, raw_image(index)) for index in range(4)]
    infos = [
        (index * PERIOD_NS + (1000 if late else 0), camera_info(index, 60.0 if index < 2 else 90.0))
        for index in range(4)
    ]
    source = write_bag(
        tmp_path / 'in', {'/camera/image': (IMAGE, images), '/camera/camera_info': (INFO, infos)}
    )
    focals = [float(info.k[0]) for info in read_topic(convert(source), DEPTH_INFO)]
    assert focals == [60.0, 60.0, 90.0, 90.0]


def test_each_calibration_of_a_zoom_has_its_own_rectification():
    infos = [camera_info(index, focal, (0.1,) * 5) for index, focal in enumerate((60.0, 90.0))]
    camera = Camera('CameraInfo', infos)
    first, second = (camera.view(picture(0), info.header.stamp, True).rgb for info in infos)
    assert np.abs(first.astype(int) - second).max() > 10


def test_calibrations_are_the_same_where_they_differ_in_the_header_alone():
    info = camera_info(0)
    assert same_calibration(info, camera_info(1))
    changes = {key: getattr(info, key) + 1.0 for key in 'dkrp'}
    changes['roi'] = make['sensor_msgs/msg/RegionOfInterest'](8, 0, 0, 0, False)
    for key, value in changes.items():
        assert not same_calibration(info, dataclasses.replace(info, **{key: value})), key


def test_a_damaged_camera_info_is_passed_over():
    infos: list = []
    add_calibration(infos, Message(SimpleNamespace(msgtype=INFO), 0, b'damaged'))
    assert not infos


@pytest.mark.parametrize(
    ('name', 'rectify', 'focal'),
    [('image_raw', False, 60.0), ('image_raw', True, 50.0), ('image_rect', False, 50.0)],
)
def test_raw_images_have_the_focal_length_of_their_lens(convert, tmp_path, name, rectify, focal):
    info = camera_info(0, d=(-0.2, 0.05, 0.0, 0.0, 0.0))
    info.p[[0, 5]] = 50.0
    topics = {
        f'/camera/{name}': (IMAGE, [(0, raw_image(0))]),
        '/camera/camera_info': (INFO, [(0, info)]),
    }
    output = convert(write_bag(tmp_path / 'in', topics), rectify=rectify)
    assert read_topic(output, DEPTH_INFO)[0].k[0] == focal
    assert ('right in the middle' in convert.report.focal) == (focal == 60.0)


def test_an_uncalibrated_camera_info_counts_as_none(convert, tmp_path):
    info = dataclasses.replace(camera_info(0), k=np.zeros(9), p=np.zeros(12))
    source = write_bag(
        tmp_path / 'in',
        {'/c/image': (IMAGE, [(0, raw_image(0))]), '/c/camera_info': (INFO, [(0, info)])},
    )
    convert(source)
    assert 'field-of-view head' in convert.report.focal


def test_rectifying_without_a_calibration_says_what_is_missing(convert, tmp_path):
    with pytest.raises(BagError, match='no calibrated CameraInfo beside /camera'):
        convert(camera_bag(tmp_path / 'in', info=False), rectify=True)


def test_a_calibration_published_once_holds_for_a_later_stretch(convert, tmp_path):
    images = [(index * PERIOD_NS, raw_image(index)) for index in range(4)]
    source = write_bag(
        tmp_path / 'in',
        {'/c/image': (IMAGE, images), '/elsewhere': (INFO, [(0, camera_info(0, 77.0))])},
    )
    output = convert(source, start_s=0.15, camera_info='/elsewhere')
    assert {float(info.k[0]) for info in read_topic(output, DEPTH_INFO)} == {77.0}


def test_rectified_depth_is_unknown_where_the_lens_saw_nothing(convert, tmp_path):
    distorted = camera_info(0, 40.0, d=(0.4, 0.1, 0.0, 0.0, 0.0))
    source = write_bag(
        tmp_path / 'in',
        {'/c/image': (IMAGE, [(0, raw_image(0))]), '/c/camera_info': (INFO, [(0, distorted)])},
    )
    (depth,) = read_topic(convert(source, rectify=True), DEPTH)
    assert 0.05 < np.isnan(depth_of(depth)).mean() < 0.9
    assert '--rectify' not in convert.report.focal
    (depth,) = read_topic(convert(source, 'raw'), DEPTH)
    assert '--rectify' in convert.report.focal
    assert not np.isnan(depth_of(depth)).any()


def test_a_damaged_picture_is_left_out_and_told(convert, tmp_path):
    images = [(index * PERIOD_NS, compressed_image(index)) for index in range(4)]
    images[1] = (PERIOD_NS, compressed_image(1, data=images[1][1].data[:-300].tobytes()))
    source = write_bag(tmp_path / 'in', {'/c/image/compressed': (COMPRESSED, images)})
    output = convert(source, focal_px=60.0)
    assert len(read_bag(output)[DEPTH]) == 3 and len(read_bag(output)['/c/image/compressed']) == 4
    assert convert.report.images == 3
    assert 'lacks the depth of 1 images' in convert.report.failure()
    assert 'PNG data are cut off' in convert.report.failure()


class Blinking:
    """Gives no finite answer to every `period`-th picture, beginning with the first."""

    def __init__(self, estimator: DepthEstimator, period: int) -> None:
        self.estimator, self.period, self.calls = estimator, period, 0

    def predict(self, rgb, focal_px=None):
        self.calls += 1
        if (self.calls - 1) % self.period == 0:
            raise ArithmeticError('the network gave values that are not finite')
        return self.estimator.predict(rgb, focal_px)


def test_an_answer_that_is_not_finite_is_left_out_and_told(estimator, tmp_path):
    source, output = camera_bag(tmp_path / 'in', info=False), tmp_path / 'out'
    # six pictures for the focal length, then the same for depth: the calls 1 and 6, and 11
    report = convert_bag(source, output, BagOptions(), lambda: Blinking(estimator, 5), False)
    assert report.images == len(read_bag(output)[DEPTH]) == 5
    assert 'the depth of 1 images' in report.failure() and 'not finite' in report.failure()
    with pytest.raises(BagError, match='none of the images .* the last: .* not finite'):
        convert_bag(source, tmp_path / 'no', BagOptions(), lambda: Blinking(estimator, 1), False)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_that_was_split_while_it_was_recorded(convert, tmp_path, storage):
    whole = camera_bag(tmp_path / 'whole', frames=6, storage=storage)
    suffix = {'mcap': 'mcap', 'sqlite3': 'db3'}[storage]
    (source := tmp_path / 'in').mkdir()
    for index, (first, last) in enumerate([(0, 3), (3, 6)]):
        part = camera_bag(tmp_path / f'part{index}', frames=6, storage=storage, keep=(first, last))
        (part / f'part{index}.{suffix}').rename(source / f'in_{index}.{suffix}')
    text = (whole / 'metadata.yaml').read_text()
    line = f'  - whole.{suffix}\n'
    assert line in text
    split = text.replace(line, f'  - in_0.{suffix}\n  - in_1.{suffix}\n')
    (source / 'metadata.yaml').write_text(split)
    before, after = read_bag(whole), read_bag(convert(source))
    assert {topic: after[topic] for topic in before} == before
    assert len(after[DEPTH]) == 6


def test_a_type_without_a_definition_is_copied(convert, tmp_path):
    source = camera_bag(tmp_path / 'in', storage='sqlite3', version=8)
    database = sqlite3.connect(source / 'in.db3')
    database.execute('DELETE FROM message_definitions')  # bags of Humble have none
    database.commit()
    database.close()
    output = convert(source)
    assert read_bag(output)['/bumper'] == read_bag(source)['/bumper']
    assert read_connections(output)['/bumper'][0] == OWN


@pytest.mark.parametrize('focal_px', [-5.0, 0.0, float('inf'), float('nan')])
def test_a_focal_length_that_no_camera_has_is_refused(focal_px):
    with pytest.raises(ValueError, match='is not positive'):
        BagOptions(focal_px=focal_px)


def test_defaults_are_those_of_the_node():
    node, bag = NodeParameters(), BagOptions()
    for name in ('rectify', 'cloud_stride', 'min_depth', 'max_depth'):
        assert getattr(bag, name) == getattr(node, name)
