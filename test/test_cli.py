"""`depth_pro estimate`, as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_pro_ros import cli
from depth_pro_ros.offline import unique_stems


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    command = [sys.executable, '-m', 'depth_pro_ros.cli', *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    assert 'Traceback' not in result.stderr
    return result


@pytest.fixture
def photo(tmp_path):
    """Give a picture with a focal length of 28 mm (35 mm equivalent) in its EXIF data."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    path = tmp_path / 'photo.jpg'
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_every_file_of_a_picture_is_written(tiny_weights, photo, tmp_path):
    output = tmp_path / 'out' / 'deeper'
    result = run('estimate', photo, '--output', output, '--weights', tiny_weights)
    assert 'EXIF' in result.stdout + result.stderr
    names = {path.name for path in output.iterdir()}
    assert names == {'photo.npz', 'photo_mm.png', 'photo_depth.png', 'photo.ply'}
    found = np.load(output / 'photo.npz')
    depth_m = found['depth_m']
    assert depth_m.shape == (60, 80) and depth_m.dtype == np.float32
    assert float(found['focal_px']) == pytest.approx(28 * 100 / np.hypot(36, 24))
    millimetres = cv2.imread(str(output / 'photo_mm.png'), cv2.IMREAD_UNCHANGED)
    assert millimetres.dtype == np.uint16
    inside = np.isfinite(depth_m) & (depth_m < 65)
    np.testing.assert_allclose(millimetres[inside], depth_m[inside] * 1000, atol=0.51)
    assert cv2.imread(str(output / 'photo_depth.png')).shape == (60, 80 + 90, 3)
    points = f'element vertex {int(np.isfinite(depth_m).sum())}\n'.encode()
    assert points in (output / 'photo.ply').read_bytes()[:200]


def test_a_given_focal_length_wins_over_exif(tiny_weights, photo, tmp_path):
    run('estimate', photo, '--output', tmp_path, '--weights', tiny_weights, '--focal-px', 99)
    assert float(np.load(tmp_path / 'photo.npz')['focal_px']) == 99.0


def test_a_file_that_is_no_picture_is_reported_and_the_rest_goes_on(tiny_weights, photo, tmp_path):
    bad = tmp_path / 'notes.txt'
    bad.write_text('no picture')
    absent = tmp_path / 'absent.png'
    result = run(
        'estimate', bad, absent, photo, '--output', tmp_path, '--weights', tiny_weights, code=1
    )
    assert f'{bad}: not a picture' in result.stderr
    assert f'{absent}: No such file' in result.stderr
    assert (tmp_path / 'photo.npz').exists()


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path):
    paths = [tmp_path / 'a' / 'x.jpg', tmp_path / 'b' / 'x.png', tmp_path / 'y.png']
    assert unique_stems(paths) == ['0_x_jpg', '1_x_png', 'y']


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (
            ['estimate', 'x.jpg', '--output', '{}', '--weights', 'no.pt'],
            "no weights 'no.pt'",
            1,
        ),
        (['estimate', 'x.jpg', '--output', '{}', '--device', 'tpu'], "no device 'tpu'", 1),
        (['estimate', 'x.jpg'], 'required: --output', 2),
        (['estimate', '--output', '{}'], 'required: IMAGE', 2),
        (['fly'], "invalid choice: 'fly'", 2),
    ],
)
def test_wrong_usage_ends_in_one_message(tmp_path, arguments, message, code):
    arguments = [argument.format(tmp_path) for argument in arguments]
    assert message in run(*arguments, code=code).stderr


def test_ctrl_c_ends_quietly(monkeypatch, capsys, tmp_path):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, 'run_estimate', interrupt)
    assert cli.main(['estimate', 'x.jpg', '--output', str(tmp_path)]) == 130
    assert 'interrupted' in capsys.readouterr().err
