"""`depth_pro estimate` and `depth_pro evaluate`, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from limits import file_size_limit
from networks import TINY_SHARED, lively_network
from PIL import Image

from depth_pro_ros import cli
from depth_pro_ros.network.checkpoint import save_network
from depth_pro_ros.offline.outputs import PICTURE_FORMATS, WRITERS


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    command = [sys.executable, '-m', 'depth_pro_ros.cli', *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    assert 'Traceback' not in result.stderr
    return result


def outcome(capsys, *arguments: object) -> tuple[int, list[str]]:
    """Run the command in this process; give its exit code and its messages."""
    code = cli.main([str(argument) for argument in arguments])
    lines = capsys.readouterr().err.splitlines()
    return code, [line for line in lines if line.startswith('depth_pro: ')]


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
    assert names == {
        'photo.npz',
        'photo_mm.png',
        'photo_depth.png',
        'photo.ply',
        'photo.json',
        'summary.jsonl',
    }
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


def test_a_given_focal_length_wins_over_exif(tiny_weights, photo, tmp_path, capsys):
    arguments = ['estimate', photo, '--output', tmp_path, '--weights', tiny_weights]
    assert outcome(capsys, *arguments, '--focal-px', 99) == (0, [])
    assert float(np.load(tmp_path / 'photo.npz')['focal_px']) == 99.0


def test_results_of_weights_that_were_trained_again_are_made_anew(photo, tmp_path, capsys):
    weights, found = tmp_path / 'mine.safetensors', []
    command = ['estimate', photo, '--output', tmp_path, '--format', 'npz', '--weights', weights]
    for seed in (0, 1):
        save_network(weights, lively_network(TINY_SHARED, seed), {})
        assert outcome(capsys, *command) == (0, [])
        found.append(np.load(tmp_path / 'photo.npz')['depth_m'])
    assert not np.array_equal(*found)


def test_a_file_that_is_no_picture_is_reported_and_the_rest_goes_on(
    tiny_weights, photo, tmp_path, capsys
):
    bad = tmp_path / 'notes.txt'
    bad.write_text('no picture')
    absent = tmp_path / 'absent.png'
    code, messages = outcome(
        capsys, 'estimate', bad, absent, photo, '--output', tmp_path, '--weights', tiny_weights
    )
    assert (code, messages) == (
        1,
        [
            f'depth_pro: {absent}: No such file or directory',
            f'depth_pro: {bad}: not a picture that OpenCV can read: make it JPEG or PNG',
        ],
    )
    assert (tmp_path / 'photo.npz').exists()


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (
            ['estimate', '{}/x.jpg', '--output', '{}', '--weights', 'no.pt'],
            "no weights 'no.pt'",
            1,
        ),
        (['estimate', '{}/x.jpg', '--output', '{}', '--device', 'tpu'], "no device 'tpu'", 1),
        (['estimate', 'typo.jpg', '--output', '{}', '--weights', 'no.pt'], 'typo.jpg: No such', 1),
        (['estimate', 'x.jpg'], 'required: --output', 2),
        (['estimate', '--output', '{}'], 'required: INPUT', 2),
        (['fly'], "invalid choice: 'fly'", 2),
        (['estimate', 'x.jpg', '--output', '{}', '--focal-px', '-1'], 'must be positive', 2),
        (['evaluate', '--data', '{}', '--limit', '0'], 'must be positive', 2),
        (['evaluate', '--data', '{}', '--limit', 'abc'], "invalid int value: 'abc'", 2),
        (['evaluate', '--data', '{}', '--focal-px', '1m'], "invalid float value: '1m'", 2),
        (['evaluate', '--data', '{}', '--dataset', 'moon'], "no data set 'moon'", 1),
    ],
)
def test_wrong_usage_ends_in_one_message(tmp_path, capsys, arguments, message, code):
    (tmp_path / 'x.jpg').touch()
    try:
        found = cli.main([argument.format(tmp_path) for argument in arguments])
    except SystemExit as error:  # argparse
        found = error.code
    errors = capsys.readouterr().err
    assert found == code and message in errors and 'Traceback' not in errors


def test_ctrl_c_ends_quietly(monkeypatch, capsys, tmp_path):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr('depth_pro_ros.commands.offline.run_estimate', interrupt)
    assert cli.main(['estimate', 'x.jpg', '--output', str(tmp_path)]) == 130
    assert 'interrupted' in capsys.readouterr().err


def test_sigterm_keeps_what_is_finished_as_ctrl_c_does(monkeypatch, capsys, tmp_path):
    kept = []

    def stopped(args):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            kept.append(True)

    monkeypatch.setattr('depth_pro_ros.commands.offline.run_estimate', stopped)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(['estimate', 'x.jpg', '--output', str(tmp_path)]) == 130
    assert kept and 'interrupted' in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_options_name_what_there_is(capsys):
    with pytest.raises(SystemExit):
        cli.main(['estimate', '--help'])
    told = ' '.join(capsys.readouterr().out.split())
    assert f'--format {{{",".join(WRITERS)}}}' in told
    assert 'pictures: all but exr' in told and set(WRITERS) - set(PICTURE_FORMATS) == {'exr'}


@pytest.mark.parametrize(
    'command', ['estimate', 'evaluate', 'bag', 'doctor', 'bench', 'rooms', 'train', 'distil']
)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, '--help'])
    assert ended.value.code == 0 and '--' in capsys.readouterr().out


def test_a_zero_length_video_beside_a_good_picture(tiny_weights, photo, tmp_path, capsys):
    video = tmp_path / 'clip.mp4'
    video.write_bytes(b'')
    code, messages = outcome(
        capsys, 'estimate', video, photo, '--output', tmp_path / 'out', '--weights', tiny_weights
    )
    assert code == 1 and messages == [f'depth_pro: {video}: not a video that OpenCV can read']
    assert (tmp_path / 'out' / 'photo.npz').exists()


@pytest.mark.parametrize('command', ['estimate', 'evaluate'])
def test_an_unwritable_folder(tiny_weights, photo, folder_of_frames, tmp_path, capsys, command):
    (tmp_path / 'file').write_text('')
    given = [photo] if command == 'estimate' else ['--data', folder_of_frames]
    output = tmp_path / 'file' / 'out'
    code, messages = outcome(capsys, command, *given, '--output', output, '--weights', tiny_weights)
    assert (code, messages) == (1, [f'depth_pro: cannot write into {output}: Not a directory'])


def test_a_full_disk(tiny_weights, photo, tmp_path, capsys):
    big = tmp_path / 'big.png'
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    Image.fromarray(pixels).save(big)
    output = tmp_path / 'out'
    with file_size_limit(20_000):
        code, messages = outcome(
            capsys,
            *('estimate', photo, big, photo.with_name('later.jpg'), '--format', 'ply'),
            *('--output', output, '--weights', tiny_weights),
        )
    assert code == 1 and len(messages) == 2
    assert messages[0].endswith('later.jpg: No such file or directory')
    assert messages[1].startswith(f'depth_pro: cannot write {output}')
    assert not list(output.glob('.*')) and not list(output.glob('big*'))


@pytest.fixture
def folder_of_frames(tmp_path):
    """Give a folder with frames.json and one frame that is 2 m away."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), np.full((40, 60, 3), 90, np.uint8))
    cv2.imwrite(str(folder / 'd.png'), np.full((40, 60), 2000, np.uint16))
    frame = {'name': 'hall_1', 'image': 'a.png', 'depth': 'd.png', 'depth_units_per_metre': 1000.0}
    (folder / 'frames.json').write_text(json.dumps({'frames': [frame]}))
    return folder


def test_evaluate_writes_its_three_files(tiny_weights, folder_of_frames, tmp_path, capsys):
    output = tmp_path / 'out'
    code = cli.main(
        ['evaluate', '--data', str(folder_of_frames), '--weights', tiny_weights]
        + ['--output', str(output), '--focal-px', '55']
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert 'hall' in printed and 'constant, source' in printed
    names = {path.name for path in output.iterdir()}
    assert names == {'evaluation.md', 'evaluation.json', 'evaluation.png'}
    [frame] = json.loads((output / 'evaluation.json').read_text())['frames']
    assert frame['true_focal_px'] == 55.0


def test_evaluate_without_data(tiny_weights, tmp_path, capsys):
    code, messages = outcome(
        capsys, 'evaluate', '--data', tmp_path / 'absent', '--weights', tiny_weights
    )
    assert (code, messages) == (1, [f'depth_pro: no folder {tmp_path / "absent"}'])


def test_a_missing_library_is_said_with_what_to_install(monkeypatch, capsys, folder_of_frames):
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    monkeypatch.delitem(sys.modules, 'depth_pro_ros.evaluation.evaluate', raising=False)
    code, messages = outcome(capsys, 'evaluate', '--data', folder_of_frames)
    assert code == 1
    assert messages == ["depth_pro: rich.console is missing: pip install 'depth_pro_ros[evaluate]'"]


def test_ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on(tiny_weights, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for index in range(24):
        cv2.imwrite(str(tmp_path / f'frame_{index}.png'), pixels)
    output = tmp_path / 'out'
    command = [sys.executable, '-m', 'depth_pro_ros.cli', 'estimate', str(tmp_path)]
    command += ['--output', str(output), '--weights', tiny_weights, '--format', 'npz']
    one_thread = {**os.environ, 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=one_thread)
    while len(list(output.glob('*.json'))) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130, errors
    assert 'interrupted; finished files are kept' in errors and 'Traceback' not in errors
    done = {path.stem for path in output.glob('*.json')}
    assert 3 <= len(done) < 24 and not list(output.glob('.*'))
    assert all((output / f'{name}.npz').is_file() for name in done)
    before = {name: (output / f'{name}.npz').stat().st_mtime_ns for name in done}
    assert cli.main(command[3:]) == 0
    assert len(list(output.glob('*.npz'))) == 24
    assert all((output / f'{name}.npz').stat().st_mtime_ns == before[name] for name in done)
    assert len((output / 'summary.jsonl').read_text().splitlines()) == 24
