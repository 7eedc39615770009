"""What is kept from one CameraInfo to the next."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import header
from sensor_msgs.msg import CameraInfo
from test_messages import calibrated

from depth_pro_ros.ros.calibration import Calibration
from depth_pro_ros.ros.parameters import NodeParameters


def test_rectification_is_prepared_once_for_a_camera_and_anew_for_another():
    calibration = Calibration(warn=print)
    parameters = NodeParameters(rectify=True)
    rgb = np.zeros((480, 640, 3), np.uint8)
    prepared = []
    for index, bend in enumerate([-0.2, -0.2, -0.1]):  # drivers stamp every CameraInfo anew
        info = calibrated(header=header(index), d=[bend, 0.0, 0.0, 0.0, 0.0])
        calibration.view(rgb, info, parameters, '/image_raw')
        prepared.append(calibration._rectifier)
        assert info.header == header(index)
    assert prepared[0] is prepared[1]
    assert prepared[1] is not prepared[2]
    info.p = [2 * info.p[0], *info.p[1:]]  # a single element of it
    calibration.view(rgb, info, parameters, '/image_raw')
    assert calibration._rectifier is not prepared[2]


def test_rectification_without_a_calibration_is_reported():
    told = []
    calibration = Calibration(warn=lambda cause, message: told.append((cause, message)))
    rgb = np.zeros((48, 64, 3), np.uint8)
    view = calibration.view(rgb, CameraInfo(), NodeParameters(rectify=True), '/image_raw')
    assert view.rgb is rgb and view.intrinsics is None
    ((cause, message),) = told
    assert cause == 'rectify' and 'no calibration' in message
