"""The services of the node, over DDS."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import header, met, picture, rgb_message, running_node, wait_until
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool, Trigger
from test_node import answers, set_parameters

from depth_pro_ros.focal import FocalSettings
from depth_pro_ros.ros import services
from depth_pro_ros.ros.stream import Frame


def locked(node, peer, rgb, index=0):
    """Show a picture until the focal length of its camera is locked, and give that."""
    lens = node.streams[''].lens.filter
    lens._settings = FocalSettings(least=5, window=10, interval_s=0.0, jump_interval_s=0.0)
    message = rgb_message(rgb, index)

    def publish_and_look():
        peer.image.publish(message)
        time.sleep(0.05)
        return node.streams[''].lens.known.camera and lens.lock

    return wait_until(publish_and_look)


def test_a_disabled_node_ignores_images_until_it_is_enabled(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        answers(peer, rgb_message(picture(32, 24), 0), ['depth'])
        response = peer.call(SetBool, 'enable', data=False)
        assert response.success and response.message == 'images are ignored'
        wait_until(lambda: not peer.image.get_subscription_count())
        frames_in = node.health.frames_in
        peer.image.publish(rgb_message(picture(32, 24), 1))
        wait_until(lambda: peer.diagnostics().get('depth_pro: depth', '  ')[1] == 'disabled')
        assert node.health.frames_in == frames_in
        assert peer.call(SetBool, 'enable', data=True).success
        answers(peer, rgb_message(picture(32, 24), 2), ['depth'])


def test_one_frame_on_request(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',), max_rate_hz=0.01) as (node, peer):
        peer.call(SetBool, 'enable', data=False)
        wait_until(lambda: not peer.image.get_subscription_count())
        timer = peer.create_timer(0.1, lambda: peer.image.publish(rgb_message(picture(32, 24), 7)))
        for count in (1, 2):
            response = peer.call(Trigger, 'estimate_once')
            assert (response.success, response.message) == (True, 'depth was published')
            wait_until(lambda count=count: len(peer.received['depth']) == count)
            assert peer.received['depth'][-1].header == header(7)
        peer.destroy_timer(timer)
        wait_until(lambda: not peer.image.get_subscription_count())
        assert node.health.frames_out == 2


def test_one_frame_that_cannot_be_answered_says_why(tiny_weights, monkeypatch):
    monkeypatch.setattr(services, 'ONCE_TIMEOUT_S', 0.5)
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        response = peer.call(Trigger, 'estimate_once')
        assert not response.success and 'no image of the camera within' in response.message
        bad = rgb_message(picture(32, 24))
        bad.encoding = 'nothing'
        timer = peer.create_timer(0.1, lambda: peer.image.publish(bad))
        response = peer.call(Trigger, 'estimate_once')
        peer.destroy_timer(timer)
        assert not response.success and "encoding 'nothing'" in response.message
        node.trigger_deactivate()
        response = peer.call(Trigger, 'estimate_once')
        assert (response.success, response.message) == (False, 'the node is not active')


def test_one_frame_of_a_slow_network_is_waited_for(tiny_weights, monkeypatch):
    monkeypatch.setattr(services, 'ONCE_TIMEOUT_S', 0.5)
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        entered, go_on = slowed(node)
        future = ask_once(node, peer)
        peer.image.publish(rgb_message(picture(32, 24)))
        assert entered.wait(20.0)
        count = len(peer.received['diagnostics'])
        wait_until(lambda: len(peer.received['diagnostics']) > count + 2)  # over a second
        assert not future.done()
        go_on.set()
        assert wait_until(future.result).message == 'depth was published'


def test_one_frame_of_a_disabled_node_is_the_newest_when_its_turn_comes(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        entered, go_on = slowed(node)
        peer.image.publish(rgb_message(picture(32, 24), 1))
        assert entered.wait(20.0)
        peer.call(SetBool, 'enable', data=False)
        future = ask_once(node, peer)
        wait_until(peer.image.get_subscription_count)
        for index in (2, 3):
            peer.image.publish(rgb_message(picture(32, 24), index))
            wait_until(lambda index=index: node.health.frames_in == index)
        go_on.set()
        assert wait_until(future.result).success
        wait_until(lambda: peer.received['depth'])
        assert [message.header for message in peer.received['depth']] == [header(3)]


def test_the_network_is_not_asked_for_the_focal_length_while_it_is_locked(tiny_weights):
    wanted = ('depth', 'info')
    with running_node(tiny_weights, wanted=wanted, lock_check_s=0.0) as (node, peer):
        lock = locked(node, peer, picture(32, 24))
        network, asked = node.engine.estimator.network, []
        network.fov.register_forward_hook(lambda *_: asked.append(1))
        for index in range(10, 20):
            message = rgb_message(picture(32, 24, seed=index))  # another scene, the same camera
            message.header.stamp.sec += index
            _, info = answers(peer, message, ['depth', 'info'])
            assert info.k[0] == lock.focal_px
        assert not asked
        assert peer.call(Trigger, 'relock').success
        answers(peer, rgb_message(picture(32, 24), 0), ['depth'])
        message = rgb_message(picture(32, 24))
        message.header.stamp.sec += 50
        answers(peer, message, ['depth'])
        assert asked
        assert str(node.streams[''].lens.filter).startswith('learning')


def test_a_lock_is_checked_now_and_then_and_lost_when_the_lens_changed(tiny_weights):
    with running_node(tiny_weights, wanted=('info',), lock_check_s=0.05) as (node, peer):
        first = locked(node, peer, picture(32, 24)).focal_px
        predict = node.engine.estimator.predict

        def zoomed(rgb, focal_px, **options):
            import dataclasses

            found = predict(rgb, None, **options)
            return dataclasses.replace(found, estimated_focal_px=2 * first, focal_px=2 * first)

        node.engine.estimator.predict = zoomed

        # a subscriber to depth, as camera_info alone needs no network once there is a lock
        from sensor_msgs.msg import Image

        peer.create_subscription(Image, '/depth_pro/depth/image', lambda _: None, 10)

        def relocked():
            peer.image.publish(rgb_message(picture(32, 24)))
            time.sleep(0.05)
            lock = node.streams[''].lens.filter.lock
            return lock and lock.focal_px == pytest.approx(2 * first)

        wait_until(relocked)
        assert node.streams[''].lens.filter.jumps == 1
        peer.image.publish(rgb_message(picture(32, 24), 5))  # of another frame_id
        problem = wait_until(lambda: node.health._problems.get('camera'))
        assert 'camera_5_optical_frame' in problem.message


def test_a_calibration_far_from_the_network_is_believed_but_reported(tiny_weights):
    wanted = ('depth', 'info')
    with running_node(tiny_weights, wanted=wanted, lock_check_s=0.05) as (node, peer):
        rgb = picture(64, 48)
        focal = node.engine.estimator.predict(rgb).focal_px
        for factor, reported in ((1.05, False), (1.4, True)):
            info = CameraInfo(width=64, height=48)
            fx = factor * focal
            info.k = [fx, 0.0, 32.0, 0.0, fx, 24.0, 0.0, 0.0, 1.0]
            peer.info.publish(info)
            wait_until(
                lambda fx=fx: (
                    list(node.streams['']._info.k)[0] == fx if node.streams['']._info else False
                )
            )
            locked(node, peer, rgb)
            index = 3 + reported
            assert answers(peer, rgb_message(rgb, index), ['info'])[0].k[0] == fx
            problem = node.health._problems.get('calibration')
            assert (problem is not None) == reported
        assert 'camera_info is believed; check it' in problem.message
        assert 'network' in problem.message and '-29%' in problem.message


def test_a_lock_is_saved_as_a_calibration_that_drivers_load(tiny_weights, tmp_path):
    yaml = pytest.importorskip('yaml', reason='no PyYAML')
    folder = tmp_path / 'not yet' / 'there'
    with running_node(tiny_weights, wanted=('depth',), calibration_folder=str(folder)) as pair:
        node, peer = pair
        response = peer.call(Trigger, 'save_calibration')
        assert not response.success and 'no focal length is locked yet' in response.message
        assert not folder.exists()
        message = rgb_message(picture(32, 24))
        message.header.frame_id = '../../../escape'
        focal = locked(node, peer, picture(32, 24)).focal_px
        response = peer.call(Trigger, 'save_calibration')
        assert response.success and response.message == f'written to {folder / "camera.yaml"}'
        assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob('*.yaml')] == [
            'not yet/there/camera.yaml'
        ]
        info = CameraInfo(width=32, height=24)
        info.k = [30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]
        peer.info.publish(info)
        wait_until(lambda: node.streams['']._info)
        answers(peer, rgb_message(picture(32, 24), 3), ['depth'])
        response = peer.call(Trigger, 'save_calibration')
        assert not response.success and 'camera_info has the calibration' in response.message
        result = set_parameters(peer, calibration_folder='/tmp')[0]
        assert not result.successful and 'read-only' in result.reason
    found = yaml.safe_load((folder / 'camera.yaml').read_text())
    assert (found['image_width'], found['image_height']) == (32, 24)
    assert found['distortion_model'] == 'plumb_bob' and found['camera_name'] == 'camera'
    for name, rows, columns in (
        ('camera_matrix', 3, 3),
        ('distortion_coefficients', 1, 5),
        ('rectification_matrix', 3, 3),
        ('projection_matrix', 3, 4),
    ):
        entry = found[name]
        assert (entry['rows'], entry['cols'], len(entry['data'])) == (rows, columns, rows * columns)
    np.testing.assert_allclose(found['camera_matrix']['data'][0], focal, rtol=1e-8)
    np.testing.assert_allclose(found['projection_matrix']['data'][6], 11.5)


def test_a_folder_that_cannot_be_written_is_an_answer_and_not_a_crash(tiny_weights, tmp_path):
    blocked = tmp_path / 'file'
    blocked.write_text('not a folder')
    with running_node(tiny_weights, wanted=('depth',), calibration_folder=str(blocked)) as pair:
        node, peer = pair
        locked(node, peer, picture(32, 24))
        response = peer.call(Trigger, 'save_calibration')
        assert not response.success and str(blocked) in response.message
        assert met(node, peer) and os.listdir(tmp_path) == ['file']


def slowed(node) -> tuple[threading.Event, threading.Event]:
    """Let inferences wait; gives the events that say it was entered and let it go on."""
    predict, entered, go_on = node.engine.estimator.predict, threading.Event(), threading.Event()

    def slow(*args, **options):
        entered.set()
        assert go_on.wait(20.0)
        return predict(*args, **options)

    node.engine.estimator.predict = slow
    return entered, go_on


def test_a_relock_in_the_middle_of_an_inference_holds(tiny_weights, tmp_path):
    options = {'lock_check_s': 0.001, 'calibration_folder': str(tmp_path)}
    with running_node(tiny_weights, wanted=('depth',), **options) as (node, peer):
        stream = node.streams['']
        locked(node, peer, picture(32, 24))
        wait_until(lambda: settled(node))
        entered, go_on = slowed(node)
        peer.image.publish(rgb_message(picture(32, 24)))
        assert entered.wait(20.0) and stream.lens.known.camera is not None
        assert peer.call(Trigger, 'relock').success
        assert stream.lens.known.camera is None
        go_on.set()
        wait_until(lambda: settled(node))
        response = peer.call(Trigger, 'save_calibration')
        assert not response.success and 'locked at' not in response.message
        answers(peer, rgb_message(picture(32, 24), 0), ['depth'])
        assert not list(tmp_path.iterdir())


def settled(node) -> bool:
    health = node.health
    return health.frames_in == health.frames_out + health.frames_dropped


def test_a_calibration_is_compared_now_and_then_while_nothing_is_locked(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',), lock_check_s=3600.0) as (node, peer):
        info = CameraInfo(width=32, height=24)
        info.k = [30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]
        info.distortion_model, info.d = 'plumb_bob', [0.1] * 5
        peer.info.publish(info)
        wait_until(lambda: node.streams['']._info)
        asked: list[int] = []
        node.engine.estimator.network.fov.register_forward_hook(lambda *_: asked.append(1))
        for index in range(4):
            message = rgb_message(picture(32, 24))
            message.header.stamp.sec += index
            answers(peer, message, ['depth'])
            time.sleep(0.25)
        assert len(asked) == 1
        assert 'set rectify: true' in node.health._problems['distortion'].message


def ask_once(node, peer):
    """Ask for one frame and give the future of the answer."""
    client = peer.create_client(Trigger, '/depth_pro/estimate_once')
    assert client.wait_for_service(10.0)
    future = client.call_async(Trigger.Request())
    wait_until(lambda: node._control._once)
    return future


def test_whoever_waits_for_a_frame_hears_that_none_will_come(tiny_weights):
    with running_node(tiny_weights, wanted=('depth',)) as (node, peer):
        inputs = node.streams[''].topics.inputs
        assert peer.call(SetBool, 'enable', data=True).success
        assert node.streams[''].topics.inputs is inputs  # it was already
        entered, go_on = slowed(node)
        peer.image.publish(rgb_message(picture(32, 24), 1))
        assert entered.wait(20.0)
        future = ask_once(node, peer)
        peer.image.publish(rgb_message(picture(32, 24), 2))
        wait_until(lambda: node.health.frames_in == 2)
        node._time_went_back(1.0)  # the second frame is dropped, and so is the first
        response = wait_until(future.result)
        assert (response.success, response.message) == (False, 'time went back')
        go_on.set()
        wait_until(lambda: settled(node))
        future = ask_once(node, peer)
        old = Frame(rgb_message(picture(32, 24)), None, None, node._control._once.asked_s - 0.1, 0)
        assert not node._control.takes('', old)
        assert peer.call(SetBool, 'enable', data=False).success
        response = wait_until(future.result)
        assert (response.success, response.message) == (False, 'the node was disabled')
        assert not peer.received['depth']
