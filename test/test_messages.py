"""Every encoding decoded against colours worked out by hand, and messages made from arrays."""

from __future__ import annotations

import io
import math
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image as Picture

pytest.importorskip('sensor_msgs', reason='no ROS 2: neither sourced nor as wheels')

from ros_helpers import header, picture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_pro_ros.camera import Intrinsics, unproject
from depth_pro_ros.camera_info import intrinsics_for_image, is_raw, rectifier_for_image
from depth_pro_ros.decoding import CHANNELS, MessageError
from depth_pro_ros.point_cloud import ROWS
from depth_pro_ros.ros import messages
from depth_pro_ros.ros.messages import as_bytes
from depth_pro_ros.scan import rotation

WIDTH, HEIGHT = 26, 18
CAMERA = Intrinsics(3, 2, 2.0, 4.0, 1.0, 0.0)


def image(encoding, rows: np.ndarray, width=WIDTH, height=HEIGHT, padding=0, big=False) -> Image:
    """Give an Image of byte rows (rows, bytes), each padded with noise."""
    noise = np.random.default_rng(1).integers(0, 256, (len(rows), padding), np.uint8)
    padded = np.hstack([rows, noise])
    return Image(
        header=header(),
        width=width,
        height=height,
        encoding=encoding,
        is_bigendian=int(big),
        step=padded.shape[1],
        data=as_bytes(padded),
    )


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Sample a picture as a Bayer sensor does whose upper left 2x2 pixels are `pattern`."""
    raw = np.empty(rgb.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        y, x = divmod(index, 2)
        raw[y::2, x::2] = rgb[y::2, x::2, 'rgb'.index(colour)]
    return raw


def full_range_yuv(rgb: np.ndarray) -> np.ndarray:
    """Convert to BT.601 studio-range YUV with the standard's own numbers."""
    matrix = np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    )
    return rgb / 255.0 @ matrix.T + np.array([16.0, 128.0, 128.0])


def encode(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """Give the byte rows of a picture in an encoding, without OpenCV."""
    height, width = rgb.shape[:2]
    if encoding in ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21'):
        yuv = np.clip(np.rint(full_range_yuv(rgb)), 0, 255).astype(np.uint8)
        y, u, v = yuv[..., 0], yuv[..., 1], yuv[..., 2]
        if encoding in ('nv12', 'nv21'):
            first, second = (u, v) if encoding == 'nv12' else (v, u)
            chroma = np.stack([first[::2, ::2], second[::2, ::2]], -1).reshape(height // 2, width)
            return np.vstack([y, chroma])
        chroma = np.where(np.arange(width) % 2 == 0, u, np.roll(v, 1, axis=1))
        pair = [chroma, y] if encoding in ('yuv422', 'uyvy') else [y, chroma]
        return np.stack(pair, -1).reshape(height, 2 * width)
    base = encoding.rstrip('0123456789') if encoding[:2] != '8U' else encoding
    if base.startswith('bayer_'):
        pixels = mosaic(rgb, base.removeprefix('bayer_'))
    else:
        alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
        pixels = {
            'rgb': rgb,
            'bgr': rgb[..., ::-1],
            '8UC3': rgb[..., ::-1],
            'rgba': np.dstack([rgb, alpha]),
            'bgra': np.dstack([rgb[..., ::-1], alpha]),
            'mono': luma(rgb),
            '8UC1': luma(rgb),
        }[base]
    return pixels.reshape(height, -1)


def smooth_picture() -> np.ndarray:
    """Give slow gradients, on which demosaicing and chroma subsampling lose little."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    return np.stack([60 + 5 * x, 220 - 6 * y, 90 + 2 * x + 3 * y], -1).astype(np.uint8)


@pytest.mark.parametrize('encoding', sorted(CHANNELS))
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('big', [False, True], ids=['little', 'big'])
def test_every_encoding(encoding, padding, big):
    rgb = smooth_picture()
    rows = encode(rgb, encoding)
    if encoding.endswith('16'):
        rows = (rows.astype('>u2' if big else '<u2') * 257).view(np.uint8)
    found = messages.rgb_from_image(image(encoding, rows, padding=padding, big=big))
    expected = np.dstack([luma(rgb)] * 3) if encoding in ('mono8', 'mono16', '8UC1') else rgb
    exact = encoding.startswith(('rgb', 'bgr', 'mono', '8U'))
    inner = (slice(2, -2), slice(2, -2))  # a Bayer sensor's outermost pixels are guesses
    difference = np.abs(found[inner].astype(int) - expected[inner].astype(int))
    assert found.shape == (HEIGHT, WIDTH, 3) and found.dtype == np.uint8
    assert difference.max() <= (0 if exact else 8)


def test_the_encodings_of_the_contract_are_all_there():
    bayer = [f'bayer_{p}{b}' for p in ('rggb', 'bggr', 'gbrg', 'grbg') for b in (8, 16)]
    others = 'rgb8 bgr8 rgba8 bgra8 mono8 mono16 rgb16 bgr16 yuv422 yuv422_yuy2 nv12 nv21'
    assert set(others.split() + bayer) <= set(CHANNELS)


def test_rgb8_is_not_copied():
    msg = image('rgb8', encode(smooth_picture(), 'rgb8'))
    assert np.shares_memory(messages.rgb_from_image(msg), np.frombuffer(msg.data, np.uint8))


def test_the_last_row_needs_no_padding():
    msg = image('rgb8', encode(smooth_picture(), 'rgb8'), padding=5)
    msg.data = msg.data[:-5]
    np.testing.assert_array_equal(messages.rgb_from_image(msg), smooth_picture())


def test_cv_bridge_gives_the_same():
    cv_bridge = pytest.importorskip('cv_bridge', reason='no cv_bridge on this machine')
    for encoding in sorted(CHANNELS):
        if encoding in ('nv12', 'nv21', '8UC1', '8UC3', 'uyvy', 'yuyv'):
            continue  # cv_bridge knows these only in some distributions, or not as colours
        rows = encode(smooth_picture(), encoding)
        if encoding.endswith('16'):
            rows = (rows.astype('<u2') * 257).view(np.uint8)
        msg = image(encoding, rows)
        theirs = cv_bridge.CvBridge().imgmsg_to_cv2(msg, 'rgb8')
        np.testing.assert_allclose(messages.rgb_from_image(msg), theirs, atol=1)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('grey', [False, True], ids=['colour', 'grey'])
def test_compressed_pictures(suffix, grey):
    rgb = smooth_picture()
    bgr = luma(rgb) if grey else rgb[..., ::-1]
    data = cv2.imencode(suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, 98])[1]
    found = messages.rgb_from_compressed(CompressedImage(format='any', data=as_bytes(data)))
    expected = np.dstack([luma(rgb)] * 3) if grey else rgb
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= (6 if suffix == '.jpg' else 0)


@pytest.mark.parametrize('encoding', sorted(name for name in CHANNELS if name.startswith('bayer')))
@pytest.mark.parametrize('kind', ['png', 'jpeg'])
def test_a_compressed_mosaic_has_colours(encoding, kind):
    rgb = smooth_picture()
    rows = encode(rgb, encoding)
    pixels = rows.astype(np.uint16) * 257 if (encoding.endswith('16') and kind == 'png') else rows
    data = as_bytes(cv2.imencode(f'.{kind}', pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1])
    stored = CompressedImage(format=f'{encoding}; {kind} compressed ', data=data)
    difference = messages.rgb_from_compressed(stored)[2:-2, 2:-2].astype(int) - rgb[2:-2, 2:-2]
    assert np.abs(difference).max() <= (8 if kind == 'png' else 20)
    stored.format += 'mono8'  # it was converted before
    assert np.ptp(messages.rgb_from_compressed(stored), axis=2).max() == 0


def test_a_picture_stays_as_the_sensor_has_it():
    exif, data = Picture.Exif(), io.BytesIO()
    exif[0x0112] = 3  # orientation: upside down
    Picture.fromarray(smooth_picture()).save(data, 'JPEG', quality=98, exif=exif)
    found = messages.rgb_from_compressed(compressed(data.getvalue()))
    assert np.abs(found.astype(int) - smooth_picture()).max() <= 6


def jpeg() -> bytes:
    return cv2.imencode('.jpg', picture(64, 48))[1].tobytes()


def png() -> bytes:
    return cv2.imencode('.png', picture(64, 48))[1].tobytes()


def bomb(width: int, height: int) -> bytes:
    """Give a PNG that claims a size without having the pixels."""
    data = bytearray(png())
    data[16:24] = width.to_bytes(4, 'big') + height.to_bytes(4, 'big')
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    return bytes(data)


def cut_after_thumbnail() -> bytes:
    """Give a JPEG cut in its picture, whose thumbnail in front of it is whole."""
    whole, thumbnail = jpeg(), jpeg()
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    return (whole[:2] + segment + whole[2:])[:-60]


def compressed(data: bytes, kind='jpeg') -> CompressedImage:
    return CompressedImage(header=header(), format=kind, data=as_bytes(np.frombuffer(data, 'u1')))


def plain(**changes) -> Image:
    msg = image('rgb8', encode(smooth_picture(), 'rgb8'))
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


BAD_IMAGES = {
    'step of zero': (plain(step=0), 'step 0 is less than a row'),
    'step too small': (plain(step=3 * WIDTH - 1), 'step 77 is less than a row of 78 bytes'),
    'step too large': (plain(step=2**31), 'are needed'),
    'no data': (plain(data=[]), 'data has 0 bytes'),
    'short data': (plain(data=[1, 2, 3]), 'data has 3 bytes'),
    'no width': (plain(width=0), '0x18 is outside'),
    'no height': (plain(height=0), '26x0 is outside'),
    'hostile encoding': (plain(encoding='x' * 300_000 + '\n'), f"encoding '{'x' * 40}' is not"),
    'huge': (plain(width=2**32 - 1, height=2**32 - 1), '4294967295x4294967295 is outside'),
    'no encoding': (plain(encoding=''), "encoding '' is not supported"),
    'unknown encoding': (plain(encoding='rgb565'), "encoding 'rgb565' is not supported"),
    'depth encoding': (plain(encoding='32FC1'), "encoding '32FC1' is not supported"),
    'odd nv12': (plain(encoding='nv12', height=17), 'is odd, which nv12 cannot be'),
    'odd width of nv12': (plain(encoding='nv12', width=25), 'is odd, which nv12 cannot be'),
    'odd yuv422': (plain(encoding='yuv422', width=25), 'is odd, which yuv422 cannot be'),
    'wrong depth': (plain(encoding='rgb16'), 'is less than a row of 156 bytes'),
}
BAD_COMPRESSED = {
    'no data': (compressed(b''), 'neither JPEG nor PNG'),
    'noise': (compressed(bytes(range(256))), 'neither JPEG nor PNG'),
    'text': (compressed(b'hello'), 'neither JPEG nor PNG'),
    'truncated JPEG': (compressed(jpeg()[:-40]), 'cut off or damaged'),
    'JPEG header only': (compressed(jpeg()[:20]), 'JPEG'),
    'truncated PNG': (compressed(png()[:-40], 'png'), 'cut off or damaged'),
    'damaged PNG': (compressed(png()[:60] + b'xxxx' + png()[64:], 'png'), 'damaged'),
    'GIF': (compressed(b'GIF89a\x01\x00\x01\x00\x00\x00\x00;'), 'neither JPEG nor PNG'),
    'compressedDepth': (compressed(png(), '32FC1; compressedDepth png'), 'is a depth image'),
    'bomb': (compressed(bomb(40000, 40000), 'png'), 'too many pixels'),
    'large': (compressed(bomb(8192, 8192), 'png'), '8192x8192 is outside'),
    'thumbnail only': (compressed(cut_after_thumbnail()), 'cut off or damaged'),
}


@pytest.mark.parametrize('case', BAD_IMAGES)
def test_a_bad_image_is_refused_with_the_reason(case):
    msg, reason = BAD_IMAGES[case]
    with pytest.raises(ValueError, match=reason):
        messages.rgb_from_image(msg)


@pytest.mark.parametrize('case', BAD_COMPRESSED)
def test_a_bad_compressed_image_is_refused_with_the_reason(case):
    msg, reason = BAD_COMPRESSED[case]
    with pytest.raises(ValueError, match=reason):
        messages.rgb_from_compressed(msg)


@pytest.mark.parametrize('trailer', [bytes(32), b'\xff' * 32, b'text'])
def test_bytes_after_the_end_of_a_picture_do_no_harm(trailer):
    for data in (jpeg(), png()):
        assert messages.rgb_from_compressed(compressed(data + trailer)).shape == (48, 64, 3)


def test_image_message_has_the_layout_of_its_array():
    depth = np.arange(15, dtype=np.float32).reshape(3, 5)
    msg = messages.image_message(header(), depth, '32FC1')
    assert (msg.width, msg.height, msg.step, msg.is_bigendian) == (5, 3, 20, 0)
    np.testing.assert_array_equal(np.frombuffer(msg.data, '<f4').reshape(3, 5), depth)


def test_cloud_message_has_the_layout_of_the_contract():
    depth = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    depth[0, 1] = np.inf
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    msg = messages.Clouds().message(header(), depth, rgb, CAMERA)
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (2, 3, 16, 48)
    assert not msg.is_dense and not msg.is_bigendian
    assert [(f.name, f.offset, f.datatype, f.count) for f in msg.fields] == [
        ('x', 0, 7, 1),
        ('y', 4, 7, 1),
        ('z', 8, 7, 1),
        ('rgb', 12, 7, 1),
    ]
    rows = np.frombuffer(msg.data, np.uint8).reshape(2, 3, 16)
    points = unproject(depth, CAMERA)
    assert np.isnan(points[0, 1]).all()
    np.testing.assert_array_equal(rows[..., :12].copy().view('<f4'), points)
    np.testing.assert_array_equal(rows[..., 12:], np.dstack([rgb[..., ::-1], np.zeros((2, 3))]))


@pytest.mark.parametrize('stride', [1, 2, 3])
def test_clouds_of_any_stride_and_size_follow_one_another_in_one_maker(stride):
    clouds, rng = messages.Clouds(), np.random.default_rng(stride)
    for height, width in ((4, 5), (4, 5), (7, 3), (3 * stride * ROWS + 1, 1)):
        depth = rng.uniform(1, 5, (height, width)).astype(np.float32)
        rgb = rng.integers(0, 255, (height, width, 3), np.uint8)
        msg = clouds.message(header(), depth, rgb, CAMERA, stride)
        points = unproject(depth, CAMERA, stride)
        assert (msg.height, msg.width) == points.shape[:2]
        rows = np.frombuffer(msg.data, np.uint8).reshape(*points.shape[:2], 16)
        np.testing.assert_array_equal(rows[..., :12].copy().view('<f4'), points)
        np.testing.assert_array_equal(rows[..., 14:11:-1], rgb[::stride, ::stride])


def test_sensor_msgs_py_reads_the_cloud():
    point_cloud2 = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='no sensor_msgs_py on this machine'
    )
    depth = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    points = unproject(depth, CAMERA)
    msg = messages.Clouds().message(header(), depth, np.zeros((2, 3, 3), np.uint8), CAMERA)
    read = point_cloud2.read_points(msg, ('x', 'y', 'z'))
    np.testing.assert_array_equal(np.stack([read[n] for n in 'xyz'], -1).reshape(2, 3, 3), points)


def calibrated(**changes) -> CameraInfo:
    info = messages.info_from_intrinsics(header(), Intrinsics(640, 480, 500, 510, 320, 240))
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def test_camera_info_is_scaled_to_the_image():
    scaled = Intrinsics(320, 240, 250, 255, 159.75, 119.75)
    assert intrinsics_for_image(calibrated(), 320, 240) == (scaled, scaled)
    raw, _ = intrinsics_for_image(calibrated(width=641, height=481), 320, 240)  # rounded
    assert raw.fx == pytest.approx(500 * 320 / 641)


def test_camera_info_of_the_same_size_is_kept_to_the_last_bit():
    p = [499.1, 0.0, 319.7, 0.0, 0.0, 509.3, 239.9, 0.0, 0.0, 0.0, 1.0, 0.0]
    raw, rectified = intrinsics_for_image(calibrated(p=p), 640, 480)
    assert raw == Intrinsics(640, 480, 500, 510, 320, 240)
    assert rectified == Intrinsics(640, 480, 499.1, 509.3, 319.7, 239.9)


def test_camera_info_without_projection_gets_one():
    raw, rectified = intrinsics_for_image(calibrated(p=[0.0] * 12), 640, 480)
    assert rectified == raw


def test_camera_info_with_region_and_binning():
    info = calibrated(binning_x=2, binning_y=2)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 80, 400, 300
    raw, _ = intrinsics_for_image(info, 200, 150)
    assert raw == Intrinsics(200, 150, 250, 255, 109.75, 79.75)


def test_where_the_model_of_a_lens_folds_back_nothing_is_seen():
    info = calibrated(k=[300.0, 0, 320, 0, 300.0, 240, 0, 0, 1], p=[0.0] * 12)
    info.d = [-0.3, 0.0, 0.0, 0.0, 0.0]
    unseen = rectifier_for_image(info, 640, 480).unseen
    v, u = np.mgrid[:480, :640]
    radius = np.hypot(u - 320, v - 240) / 300
    folds = 1 / np.sqrt(3 * 0.3)  # where r - 0.3 r^3 is largest
    assert unseen[radius > folds + 0.02].all() and not unseen[radius < folds - 0.02].any()
    info.k = [400.0, 0, 320, 0, 400.0, 240, 0, 0, 1]  # farther out it is mirrored once more
    info.p = [180.0, 0, 320, 0, 0, 180.0, 240, 0, 0, 0, 1, 0]
    info.d = [-0.4, 0.0, 0.0, 0.0, 0.0]
    radius = np.hypot(u - 320, v - 240) / 180
    unseen = rectifier_for_image(info, 640, 480).unseen
    assert unseen[radius > 1 / np.sqrt(3 * 0.4) + 0.02].all()


def test_a_camera_is_turned_as_its_calibration_says():
    turn = rotation(0.0, math.radians(2.0), 0.0)  # to the rectified camera
    info = calibrated(r=turn.ravel())
    v, u = np.mgrid[:480, :640]
    rays = np.stack([(u - 320) / 500, (v - 240) / 510, np.ones(u.shape)], -1) @ turn
    where = rays[..., :2] / rays[..., 2:] * [500, 510] + [320, 240]
    assert np.abs(where[240, 320] - [320, 240]).max() > 15
    rectifier = rectifier_for_image(info, 640, 480)
    assert np.abs(rectifier.maps[0] - where).max() < 1.1  # it is whole pixels
    moved = calibrated(p=[500.0, 0, 330, 0, 0, 510.0, 240, 0, 0, 0, 1, 0])
    assert [is_raw(each) for each in (info, moved, calibrated())] == [True, True, False]


BAD_INFOS = {
    'NaN': (calibrated(k=[float('nan')] * 9), 'not finite'),
    'infinite': (calibrated(p=[float('inf')] * 12), 'not finite'),
    'distortion is NaN': (calibrated(d=[float('nan')] * 5), 'not finite'),
    'rotation is infinite': (calibrated(r=[float('inf')] * 9), 'not finite'),
    'no size': (calibrated(width=0, height=0), 'a size of 0x0'),
    'another shape': (calibrated(width=640, height=360), 'has another shape'),
    'a little other shape': (calibrated(width=640, height=430), 'has another shape'),
    'negative': (calibrated(k=[-5.0, 0, 1, 0, 5, 1, 0, 0, 1]), 'not positive'),
    'negative fy': (calibrated(k=[500.0, 0, 1, 0, -500, 1, 0, 0, 1]), 'not positive'),
    'negative in P': (
        calibrated(p=[500.0, 0, 1, 0, 0, -500, 1, 0, 0, 0, 1, 0]),
        'not positive',
    ),
    'K of nothing': (calibrated(k=[1.0, 0, 0, 0, 1, 0, 0, 0, 1]), 'which no camera has'),
}


@pytest.mark.parametrize('case', BAD_INFOS)
def test_a_bad_camera_info_is_refused_with_the_reason(case):
    info, reason = BAD_INFOS[case]
    with pytest.raises(MessageError, match=reason):
        intrinsics_for_image(info, 640, 480)
