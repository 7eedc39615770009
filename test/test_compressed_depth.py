"""compressedDepth: what is written is read back, also by the rule of image_transport's decoder."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from depth_pro_ros.compressed_depth import FORMATS, decode_depth, encode_depth


def room(near=0.4, far=20.0) -> np.ndarray:
    """Give depth (60, 81) from near to far with every kind of unknown in it."""
    depth = np.geomspace(near, far, 60 * 81).astype(np.float32).reshape(60, 81)
    depth[0, :4] = np.nan, np.inf, -np.inf, 0.0
    return depth


def test_metres_come_back_within_half_a_level_of_inverse_depth():
    depth = room()
    found = decode_depth(encode_depth(depth))
    assert found.dtype == np.float32 and np.isnan(found[0, :4]).all()
    known = np.isfinite(depth) & (depth > 0)
    step = (1 / depth[known].min() - 1 / depth[known].max()) / 65534
    assert np.abs(1 / found[known] - 1 / depth[known]).max() <= 0.55 * step


def test_image_transports_own_rule_reads_it():
    depth = room(1.0, 9.0)
    data = encode_depth(depth)
    kind, a, b = struct.unpack('<iff', data[:12])
    stored = cv2.imdecode(np.frombuffer(data[12:], np.uint8), cv2.IMREAD_UNCHANGED)
    assert kind == 0 and stored.dtype == np.uint16 and stored.shape == depth.shape
    np.testing.assert_allclose(a / (stored[30:] - b), depth[30:], rtol=3e-4)
    assert (stored[0, :4] == 0).all() and (stored[0, 4:] > 0).all()
    assert FORMATS['32FC1'] == '32FC1; compressedDepth png'


def test_millimetres_are_kept_to_the_last_bit():
    depth = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(decode_depth(encode_depth(depth), '16UC1'), depth)


@pytest.mark.parametrize('value', [np.nan, 3.0])
def test_an_image_of_one_value_or_of_none(value):
    depth = np.full((16, 16), value, np.float32)
    np.testing.assert_allclose(decode_depth(encode_depth(depth)), depth, rtol=1e-6)


@pytest.mark.parametrize(
    ('data', 'encoding', 'message'),
    [
        (b'', '32FC1', 'without a whole 16-bit PNG'),
        (bytes(12), '32FC1', 'without a whole'),
        (encode_depth(room())[:300], '32FC1', 'without a whole'),
        (encode_depth(room()), 'mono8', "no depth encoding 'mono8'"),
    ],
)
def test_bad_data_are_refused(data, encoding, message):
    with pytest.raises(ValueError, match=message):
        decode_depth(data, encoding)
