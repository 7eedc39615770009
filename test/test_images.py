"""Pictures in and out, against other readers."""

from __future__ import annotations

import io
import math
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_pro_ros import images
from depth_pro_ros.decoding import is_whole


def test_pictures_are_read_upright_in_rgb(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:, :3] = (255, 0, 0)
    path = tmp_path / 'turned.png'
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(rgb[::-1, ::-1]).save(path, exif=exif)
    np.testing.assert_array_equal(images.read_picture(path), rgb)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'I;16', 'P'])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    path = tmp_path / 'picture.png'
    grey = Image.fromarray(np.full((8, 9), 100, np.uint8))
    if mode == 'I;16':
        cv2.imwrite(str(path), np.full((8, 9), 100 * 257, np.uint16))
    else:
        grey.convert(mode).save(path)
    assert images.read_picture(path).shape == (8, 9, 3)
    assert (images.read_picture(path) == 100).all()


@pytest.mark.parametrize('content', [b'', b'no picture', None])
def test_what_is_no_picture_is_said(tmp_path, content):
    path = tmp_path / 'file.jpg'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(images.ImageError, match=str(path)):
        images.read_picture(path)


@pytest.mark.parametrize('progressive', [False, True])
def test_a_jpeg_that_is_cut_off_is_said_and_what_phones_append_is_not(tmp_path, progressive):
    path = tmp_path / 'photo.jpg'
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, progressive=progressive)
    whole = path.read_bytes()
    path.write_bytes(whole + b'film \xff\xda' + bytes(100))
    expected = images.read_picture(path)
    path.write_bytes(whole)
    assert is_whole(whole[:-9] + b'\xff\x5a' + whole[-9:])  # a bit error, and not the end
    np.testing.assert_array_equal(images.read_picture(path), expected)
    for length in (len(whole) // 2, len(whole) - 40, len(whole) - 2):
        assert not is_whole(whole[:length])
        path.write_bytes(whole[:length])
        with pytest.raises(images.ImageError, match='photo.jpg: (the file is cut off|not a pict)'):
            images.read_picture(path)


def test_a_png_is_read_back_and_one_that_is_cut_off_is_said(tmp_path, monkeypatch):
    path = tmp_path / 'picture.png'
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    images.write_png(path, noise)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), noise)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 12, len(whole) - 1):
        assert not is_whole(whole[:length])
        path.write_bytes(whole[:length])
        with pytest.raises(images.ImageError, match='picture.png: (the file is cut|not a picture)'):
            images.read_picture(path)
    path.write_bytes(whole)
    monkeypatch.setattr(images, 'is_whole', lambda data: False)
    with pytest.raises(images.ImageError, match='the file is cut off'):  # whatever OpenCV reads
        images.read_picture(path)


def test_a_picture_with_too_many_pixels_is_said(tmp_path):
    path = tmp_path / 'bomb.png'
    data = bytearray(cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    data[16:24] = (40000).to_bytes(4, 'big') * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    path.write_bytes(data)
    with pytest.raises(images.ImageError, match=str(path)):
        images.read_picture(path)
    assert images.exif_focal_px(path) is None


def photo_with(tmp_path, **tags):
    """Write a 400 x 300 JPEG with EXIF tags given by number."""
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({int(k[1:], 16): v for k, v in tags.items()})
    path = tmp_path / 'photo.jpg'
    Image.new('RGB', (400, 300)).save(path, exif=exif)
    return path


def test_focal_length_from_the_35_mm_equivalent(tmp_path):
    path = photo_with(tmp_path, xA405=28)
    expected = 28 * 500 / math.hypot(36, 24)  # the diagonal is 500 px
    assert math.isclose(images.exif_focal_px(path), expected, rel_tol=1e-9)


def test_focal_length_from_the_resolution_of_the_sensor(tmp_path):
    for unit, in_mm in ((2, 25.4), (3, 10.0), (4, 1.0), (5, 1e-3)):
        path = photo_with(tmp_path, x920A=5.0, xA20E=100.0 * in_mm, xA210=unit, xA002=400)
        assert math.isclose(images.exif_focal_px(path), 5.0 * 100.0, rel_tol=1e-6)  # 100 px a mm


def test_focal_length_of_a_picture_that_was_made_smaller(tmp_path):
    path = photo_with(tmp_path, x920A=5.0, xA20E=1000.0, xA210=3, xA002=4000)
    assert math.isclose(images.exif_focal_px(path), 50.0, rel_tol=1e-6)


@pytest.mark.parametrize(
    'tags',
    [
        {},
        {'x920A': 5.0},
        {'xA405': 0},
        {'xA405': 1},  # 174 degrees
        {'xA405': 60000},
        {'x920A': 5.0, 'xA20E': 1000.0, 'xA210': 1},  # no unit
    ],
    ids=str,
)
def test_no_focal_length(tmp_path, tags):
    assert images.exif_focal_px(photo_with(tmp_path, **tags)) is None


def test_damaged_exif_gives_no_focal_length(tmp_path):
    path = tmp_path / 'bad.jpg'
    buffer = io.BytesIO()
    Image.new('RGB', (8, 8)).save(buffer, 'JPEG', exif=b'Exif\x00\x00' + b'MM\x00*\xff\xff\xff\xff')
    path.write_bytes(buffer.getvalue())
    assert images.exif_focal_px(path) is None
    assert images.exif_focal_px(tmp_path / 'absent.jpg') is None


def test_colours_run_from_near_red_to_far_blue():
    depth = np.array([[1.0, 10.0, np.inf, np.nan, -np.inf]], np.float32)
    near, far, sky, unknown, too_near = images.colorize_depth(depth, 1.0, 10.0)[0].astype(int)
    assert near[0] > near[2] and far[2] > far[0]
    assert (sky == far).all()
    assert not unknown.any() and not too_near.any()


def test_the_scale_bar_has_the_colours_of_the_picture():
    bar = images.depth_scale_bar(1.0, 10.0, 200)
    assert bar.shape == (200, 90, 3)
    near = images.colorize_depth(np.array([[1.0]], np.float32), 1.0, 10.0)[0, 0]
    assert (bar[-1, 10] == near).all()


def test_range_of_nothing_is_still_a_range():
    assert images.depth_range(np.full((3, 3), np.nan, np.float32)) == (1.0, 10.0)
    near, far = images.depth_range(np.full((3, 3), 2.0, np.float32))
    assert near < far


def test_ply_is_read_back(tmp_path):
    points = np.array([[[0, 1, 2], [np.nan] * 3, [3, 4, 5]]], np.float32)
    rgb = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], np.uint8)
    images.write_ply(tmp_path / 'cloud.ply', points, rgb)
    header, body = (tmp_path / 'cloud.ply').read_bytes().split(b'end_header\n')
    assert b'element vertex 2' in header and header.startswith(b'ply\nformat binary_little_endian')
    assert struct.unpack('<3f3B3f3B', body) == (0, 1, 2, 1, 2, 3, 3, 4, 5, 7, 8, 9)


def test_files_are_written_aside_and_renamed(tmp_path):
    path = tmp_path / 'result.json'
    path.write_text('old')

    def fail(aside):
        aside.write_text('half')
        raise OSError(28, 'No space left on device')

    with pytest.raises(images.WriteError, match='No space left'):
        images.write_aside(path, fail)
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['result.json']
    with pytest.raises(images.WriteError, match='cannot write'):
        images.write_png(tmp_path / 'no' / 'folder.png', np.zeros((4, 4, 3), np.uint8))


def test_npz_is_read_back(tmp_path):
    images.write_npz(tmp_path / 'a.npz', depth_m=np.ones(3, np.float32), focal_px=2.0)
    found = np.load(tmp_path / 'a.npz')
    assert float(found['focal_px']) == 2.0 and found['depth_m'].dtype == np.float32
