"""What is kept from one CameraInfo to the next."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import header
from sensor_msgs.msg import CameraInfo
from test_messages import calibrated

from depth_pro_ros.decoding import MessageError
from depth_pro_ros.ros.calibration import Calibration
from depth_pro_ros.ros.parameters import NodeParameters


def test_rectification_is_prepared_once_for_a_camera_and_anew_for_another():
    calibration = Calibration(warn=print)
    parameters = NodeParameters(rectify=True)
    rgb = np.zeros((480, 640, 3), np.uint8)
    prepared = []

    def prepare(info, rgb=rgb):
        view = calibration.view(rgb, info, parameters, '/image_raw')
        prepared.append(calibration._rectifier)
        return view

    for index, bend in enumerate([-0.2, -0.2, -0.1]):  # drivers stamp every CameraInfo anew
        info = calibrated(header=header(index), d=[bend, 0.0, 0.0, 0.0, 0.0])
        prepare(info)
        assert info.header == header(index)
    info.p = [2 * info.p[0], *info.p[1:]]  # a single element of it
    assert prepare(info).intrinsics.fx == info.p[0] != info.k[0]
    info.r[1] = 1e-3
    prepare(info)
    info.roi.x_offset = 8
    prepare(info)
    prepare(info, rgb[::2, ::2])
    assert prepared[0] is prepared[1]
    assert len(set(map(id, prepared))) == len(prepared) - 1


def test_what_rectification_would_not_move_stays_as_it_is():
    rgb = np.zeros((480, 640, 3), np.uint8)
    calibration, parameters = Calibration(warn=print), NodeParameters(rectify=True)
    assert calibration.view(rgb, calibrated(), parameters, '/image_raw').rgb is rgb


def test_a_calibration_that_is_required_must_fit():
    rgb = np.zeros((480, 480, 3), np.uint8)
    calibration, parameters = Calibration(warn=print), NodeParameters(intrinsics='camera_info')
    with pytest.raises(MessageError, match='another shape'):
        calibration.view(rgb, calibrated(), parameters, '/image_raw')


def test_rectification_without_a_calibration_is_reported():
    told = []
    calibration = Calibration(warn=lambda cause, message: told.append((cause, message)))
    rgb = np.zeros((48, 64, 3), np.uint8)
    view = calibration.view(rgb, CameraInfo(), NodeParameters(rectify=True), '/image_raw')
    assert view.rgb is rgb and view.intrinsics is None
    ((cause, message),) = told
    assert cause == 'rectify' and 'no calibration' in message
