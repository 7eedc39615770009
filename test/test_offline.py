"""Files in, depth out: what belongs together, what is settled for a clip, what is resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_pro_ros.camera import Intrinsics, fov_from_focal, unproject
from depth_pro_ros.estimator import DepthPrediction, OutOfMemoryError
from depth_pro_ros.images import ImageError, WriteError
from depth_pro_ros.offline.clip import SAMPLES, samples, settle
from depth_pro_ros.offline.estimate import estimate_files
from depth_pro_ros.offline.inputs import find_clips, unique_names
from depth_pro_ros.offline.outputs import WRITERS
from depth_pro_ros.offline.run import Settings
from depth_pro_ros.offline.summary import Summary
from depth_pro_ros.offline.video import (
    DEFAULT_RATE_HZ,
    count_frames,
    frame_rate,
    measure_video,
    side_by_side,
    write_video,
)


class Estimator:
    """Answers from the brightness of a picture: every frame another focal length, if asked."""

    precision = 'fp32'

    def __init__(self, interrupt_at: int | None = None, weights_stamp: str = '') -> None:
        self.focals: list[float | None] = []
        self.interrupt_at = interrupt_at
        self.weights_stamp = weights_stamp

    def predict(self, rgb, focal_px=None):
        if len(self.focals) == self.interrupt_at:
            raise KeyboardInterrupt
        self.focals.append(focal_px)
        height, width = rgb.shape[:2]
        focal = focal_px or 50.0 + float(rgb.mean())
        depth_m = np.tile(np.linspace(1, 3, width, dtype=np.float32), (height, 1)) * focal / 100
        return DepthPrediction(depth_m, focal, fov_from_focal(focal, width), focal_px is None)


class Blind(Estimator):
    """Gives no answer to a black picture, by default as it is not finite."""

    fault: Exception = ArithmeticError('the network gave values that are not finite')

    def predict(self, rgb, focal_px=None):
        if not rgb.any():
            raise self.fault
        return super().predict(rgb, focal_px)


def estimate(estimator, *arguments):
    return estimate_files(lambda: estimator, *arguments)


def picture(path, brightness=10, size=(32, 24), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (brightness,) * 3).save(path, **more)


def brighter(index):
    """Give a frame of the brightness of its number: the focal lengths that the network tells."""
    return np.full((32, 48, 3), 20 * index, np.uint8)


def noise(index):
    """Give a frame that takes as many bytes as any other."""
    return np.random.default_rng(index).integers(0, 256, (32, 48, 3), np.uint8)


def make_video(path, frames=9, rate_hz=12.0, draw=brighter):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), rate_hz, (48, 32))
    for index in range(frames):
        writer.write(draw(index))
    writer.release()


def names(clips):
    return [[source.path.name for source in clip.sources] for clip in clips]


def test_numbered_pictures_of_one_size_are_a_sequence_in_the_order_of_their_numbers(tmp_path):
    for index in (10, 9, 1):
        picture(tmp_path / f'shot_{index}.png')
    picture(tmp_path / 'shot_2.png', size=(40, 24))
    picture(tmp_path / 'other_1.png')
    (tmp_path / 'notes.txt').write_text('')
    (tmp_path / '.shot_3.png').write_text('')
    (tmp_path / 'x10²3.heic').write_text('')
    clips, failures = find_clips([tmp_path], tmp_path / 'out')
    assert not failures
    assert names(clips) == [
        ['other_1.png'],
        ['shot_1.png', 'shot_9.png', 'shot_10.png'],
        ['shot_2.png'],
        ['x10²3.heic'],  # told of, if it cannot be read
    ]


def test_patterns_folders_and_files_may_be_mixed_and_count_once(tmp_path):
    for name in ('a/x.png', 'a/y.jpg', 'b/x.png'):
        picture(tmp_path / name)
    make_video(tmp_path / 'b' / 'clip.avi')
    inputs = [f'{tmp_path}/*/x.png', tmp_path / 'a', tmp_path / 'b' / 'clip.avi']
    clips, failures = find_clips(inputs, tmp_path / 'out')
    assert not failures
    assert names(clips) == [['x.png'], ['x.png'], ['y.jpg'], ['clip.avi']]
    assert [clip.is_video for clip in clips] == [False, False, False, True]
    assert [clip.sources[0].name for clip in clips] == ['a_x_png', 'b_x_png', 'y', 'clip']


def test_inputs_without_files_are_said(tmp_path):
    (tmp_path / 'empty').mkdir()
    clips, failures = find_clips([tmp_path / 'empty', f'{tmp_path}/*.png'], tmp_path / 'out')
    assert not clips and len(failures) == 2
    assert all('no pictures or videos there' in failure for failure in failures)


def test_the_folder_of_results_is_not_searched_for_pictures(tmp_path):
    picture(tmp_path / 'a.png')
    clips, failures = find_clips([tmp_path], tmp_path)
    assert not clips and 'choose another --output' in failures[0]
    assert find_clips([tmp_path / 'a.png'], tmp_path)[1] == []
    picture(tmp_path / 'depth' / 'a_depth.png')
    clips, failures = find_clips([f'{tmp_path}/**/*.png'], tmp_path / 'depth')
    assert not clips and 'choose another --output' in failures[0]


def test_names_of_results_do_not_clash(tmp_path):
    paths = [tmp_path / name for name in ('a/x.jpg', 'a/x.png', 'b/x.png', 'c/a/x.jpg', 'y.png')]
    found = unique_names(paths)
    assert found == ['a_x_jpg_0', 'a_x_png', 'b_x_png', 'a_x_jpg_1', 'y']
    paths = [tmp_path / name for name in ('p/a/x.png', 'q/a/x.png', 'a_x_png.png', 'a_x_png_0.png')]
    found = unique_names(paths)
    assert len({*found}) == 4 and found[3] == 'a_x_png_0'


def test_the_focal_length_of_a_clip_forgives_frames_that_are_far_off():
    black, white = (np.full((24, 800, 3), value, np.uint8) for value in (0, 250))
    settled = settle(Estimator(), [(black, None)] * 8 + [(white, None)] * 7)
    assert settled.focal_px == 50.0
    assert settled.colours_m == pytest.approx((0.5, 1.5), rel=0.05)  # as at that focal length
    assert settle(Estimator(), [(white, 80.0), (black, 80.0)]).focal_px == 80.0
    with pytest.raises(ValueError, match='no picture'):
        settle(Estimator(), [])
    dark = np.zeros((24, 32, 3), np.uint8)
    assert settle(Blind(), [(white, None), (dark, None)]).focal_px == 300.0
    with pytest.raises(ArithmeticError, match='not finite'):
        settle(Blind(), [(dark, None)])


def test_samples_are_spread_over_the_clip():
    assert samples(1) == [0] and samples(4) == [0, 1, 2, 3]
    many = samples(10_000)
    assert len(many) == SAMPLES and many[0] == 0 and many[-1] == 9_999
    assert np.diff(many).max() - np.diff(many).min() <= 1


@pytest.fixture
def folder(tmp_path):
    """Give a sequence of five pictures, getting brighter."""
    for index in range(5):
        picture(tmp_path / 'in' / f'f{index}.png', brightness=20 * index)
    return tmp_path / 'in'


def focals(output, pattern='*.npz'):
    return [float(np.load(path)['focal_px']) for path in sorted(output.glob(pattern))]


def records(output):
    lines = (output / 'summary.jsonl').read_text().splitlines()
    return {os.path.basename(record['input']): record for record in map(json.loads, lines)}


def test_a_sequence_has_one_focal_length_unless_told_otherwise(folder, tmp_path):
    out = tmp_path / 'out'
    assert estimate(Estimator(), [folder], out, Settings('w', formats=('npz',))) == []
    assert focals(out) == [90.0] * 5  # the median of 50 + 0, 20, 40, 60, 80
    assert records(out)['f0.png']['focal_source'] == 'network, median of the sequence'
    own = Settings('w', per_frame_focal=True, formats=('npz',))
    assert estimate(Estimator(), [folder], out, own) == []
    assert focals(out) == [50.0, 70.0, 90.0, 110.0, 130.0]  # not taken for finished


def test_exif_wins_over_the_focal_length_of_the_sequence(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    for index in range(5):
        more = {'exif': exif} if index == 2 else {}
        picture(tmp_path / 'in' / f'f{index}.jpg', brightness=20 * index, **more)
    settings = Settings('w', formats=('npz', 'png'))
    estimate(Estimator(), [tmp_path / 'in'], tmp_path / 'out', settings)
    paths = [tmp_path / 'out' / f'f{index}_depth.png' for index in (0, 2)]
    one, other = (cv2.imread(str(path))[:, :32] for path in paths)
    assert cv2.absdiff(one, other).max() > 100  # in metres, as they are of one sequence
    exif_px = 28 * 40 / np.hypot(36, 24)
    found = focals(tmp_path / 'out')
    assert found[2] == pytest.approx(exif_px)
    assert found[0] == found[4] == pytest.approx(np.median([50, 70, exif_px, 110, 130]), abs=2)


def test_a_run_that_was_cut_off_goes_on(folder, tmp_path):
    out = tmp_path / 'out'
    settings = Settings('w', formats=('npz', 'png'))
    with pytest.raises(KeyboardInterrupt):
        estimate(Estimator(interrupt_at=5 + 3), [folder], out, settings)
    assert len(list(out.glob('*.json'))) == len(records(out)) == 3
    (out / 'f1.npz').unlink()  # lost since
    picture(folder / 'f5.png', brightness=250)  # would change the median
    again = Estimator()
    estimate(again, [folder], out, settings)
    assert again.focals == [90.0] * 4  # f1, f3, f4, f5, with the focal length of before
    assert focals(out) == [90.0] * 6 and len(records(out)) == 6
    assert not list(out.glob('.*'))

    nothing = Estimator()
    estimate(nothing, [folder], out, settings)
    assert nothing.focals == []
    os.utime(folder / 'f0.png', (1, 1))  # another picture, and older, as a copy keeps it
    estimate(nothing, [folder], out, settings)
    assert len(nothing.focals) == 1
    estimate(nothing, [folder], out, Settings('other', formats=('npz', 'png')))
    assert len(nothing.focals) == 1 + 5 + 1 + 6  # all anew: samples and pictures
    learned = Estimator(weights_stamp='trained again since')
    estimate(learned, [folder], out, Settings('other', formats=('npz', 'png')))
    assert len(learned.focals) == 6 + 6
    learned.precision = 'bf16'
    estimate(learned, [folder], out, Settings('other', formats=('npz', 'png')))
    assert len(learned.focals) == 2 * (6 + 6)


def test_files_of_other_settings_are_never_taken_for_finished(tmp_path):
    picture(tmp_path / 'a.png')
    make_video(tmp_path / 'clip.avi', frames=3)
    out = tmp_path / 'out'

    def run(focal_px, *formats):
        asked = Estimator()
        settings = Settings('w', focal_px=focal_px, formats=formats)
        estimate(asked, [tmp_path / 'a.png', tmp_path / 'clip.avi'], out, settings)
        return len(asked.focals)

    run(90.0, 'npz', 'png')
    assert focals(out, '**/*.npz') == [90.0] * 4
    run(80.0, 'png')
    assert not focals(out, '**/*.npz')  # of before, which would contradict what is there now
    assert run(80.0, 'png') == 0
    assert run(80.0, 'npz', 'png')
    assert focals(out, '**/*.npz') == [80.0] * 4
    assert run(80.0, 'png16') and run(80.0, 'npz', 'png', 'png16') == 0  # the others still count


@pytest.mark.parametrize(
    'then',
    [[(90.0, ('npz',))], [(80.0, None), (80.0, ('npz',))]],
    ids=['the run before', 'fewer formats'],
)
def test_a_run_that_was_cut_off_does_not_pass_for_another(tmp_path, then):
    make_video(tmp_path / 'clip.avi')
    out, inputs = tmp_path / 'out', [tmp_path / 'clip.avi']

    def run(estimator, focal_px, formats):
        estimate(estimator, inputs, out, Settings('w', focal_px=focal_px, formats=formats))

    run(Estimator(), 90.0, ('npz',))
    with pytest.raises(KeyboardInterrupt):
        run(Estimator(interrupt_at=9 + 4), 80.0, ('npz',))
    assert 0 < focals(out / 'clip').count(80.0) < 9
    for focal_px, formats in then:
        run(Estimator(), focal_px, formats)
    assert focals(out / 'clip') == [then[-1][0]] * 9


def test_a_picture_that_was_done_alone_joins_its_sequence(folder, tmp_path):
    out, settings = tmp_path / 'out', Settings('w', formats=('npz',))
    estimate(Estimator(), [folder / 'f0.png'], out, settings)
    assert focals(out) == [50.0]
    estimate(Estimator(), [folder], out, settings)
    assert focals(out) == [90.0] * 5


def test_halves_of_a_sequence_that_were_done_apart_get_one_focal_length(folder, tmp_path):
    out, settings = tmp_path / 'out', Settings('w', formats=('npz',))
    for part in ((0, 1), (2, 3)):
        estimate(Estimator(), [folder / f'f{index}.png' for index in part], out, settings)
    assert focals(out) == [60.0, 60.0, 100.0, 100.0]
    estimate(Estimator(), [folder], out, settings)
    assert focals(out) == [60.0] * 5


def test_a_record_goes_before_the_first_of_its_files_is_replaced(tmp_path):
    picture(tmp_path / 'a.png')
    out = tmp_path / 'out'

    def run(focal_px, *formats):
        settings = Settings('w', focal_px=focal_px, formats=formats)
        return estimate(Estimator(), [tmp_path / 'a.png'], out, settings)

    run(90.0, 'npz')
    (out / 'a_mm.png').mkdir()
    assert 'cannot write' in run(80.0, 'npz', 'png16')[0] and focals(out) == [80.0]
    run(90.0, 'npz')
    assert focals(out) == [90.0]


@pytest.mark.parametrize('per_frame', [False, True])
def test_a_video_keeps_its_frames_and_its_focal_length(tmp_path, per_frame):
    make_video(tmp_path / 'clip.avi')
    out = tmp_path / 'out'
    settings = Settings('w', per_frame_focal=per_frame, formats=('npz',))
    assert estimate(Estimator(), [tmp_path / 'clip.avi'], out, settings) == []
    assert count_frames(out / 'clip_depth.mp4') == 9
    assert frame_rate(out / 'clip_depth.mp4') == pytest.approx(12.0)
    video = cv2.VideoCapture(str(out / 'clip_depth.mp4'))
    shape = video.read()[1].shape
    assert shape == (32, 2 * 48 + 90, 3)
    found = focals(out / 'clip')
    assert len(found) == 9
    if per_frame:
        np.testing.assert_allclose(found, 50 + 20 * np.arange(9), atol=2)
    else:
        assert found == [found[0]] * 9 and found[0] == pytest.approx(130, abs=2)
    camera = json.loads((out / 'clip.json').read_text())
    assert camera['fx'] == camera['fy'] == pytest.approx(130, abs=2)
    assert (camera['width'], camera['cx'], camera['frames']) == (48, 23.5, 9)
    assert json.loads((out / 'clip' / '000008.json').read_text())['fx'] == found[8]
    assert not list(out.glob('.*'))
    for lost in (out / 'clip' / '000003.npz', out / 'clip_depth.mp4'):
        lost.unlink()
        assert estimate(Estimator(), [tmp_path / 'clip.avi'], out, settings) == []
        assert lost.is_file()


def test_videos_are_read_and_written_in_rgb(tmp_path):
    class Watching(Estimator):
        def predict(self, rgb, focal_px=None):
            assert rgb[..., 0].min() > 150 > 50 > rgb[..., 2].max()
            return super().predict(rgb, focal_px)

    make_video(tmp_path / 'clip.avi', 2, draw=lambda _: np.full((32, 48, 3), (0, 0, 200), np.uint8))
    assert estimate(Watching(), [tmp_path / 'clip.avi'], tmp_path, Settings('w')) == []
    bgr = cv2.VideoCapture(str(tmp_path / 'clip_depth.mp4')).read()[1][:, :48]
    assert bgr[..., 2].mean() > 150 > 50 > bgr[..., 0].mean()


@pytest.mark.parametrize(
    ('size', 'pane'), [((47, 33), (48, 32)), ((2000, 1001), (1280, 640)), ((300, 1), (300, 2))]
)
def test_the_panes_of_a_video_have_even_sides_and_are_not_too_large(size, pane):
    rgb, depth_m = np.zeros((*size[::-1], 3), np.uint8), np.ones(size[::-1], np.float32)
    assert side_by_side(rgb, depth_m, (1.0, 2.0)).shape == (pane[1], 2 * pane[0] + 90, 3)


def test_a_video_that_was_cut_off_goes_on_with_the_same_focal_length(tmp_path):
    make_video(tmp_path / 'clip.avi')
    out, settings = tmp_path / 'out', Settings('w', formats=('npz',))
    with pytest.raises(KeyboardInterrupt):
        estimate(Estimator(9 + 4), [tmp_path / 'clip.avi'], out, settings)
    assert not list(out.glob('*.mp4')) and not list(out.glob('*.json'))
    (out / 'clip' / '000001.npz').unlink()  # lost since
    again = Estimator()
    estimate(again, [tmp_path / 'clip.avi'], out, settings)
    assert len(again.focals) == 6 and len(set(again.focals)) == 1  # no samples, six frames
    assert count_frames(out / 'clip_depth.mp4') == len(focals(out / 'clip')) == 9
    assert {path.name for path in out.iterdir()} == {
        *('clip', 'clip_depth.mp4', 'clip.json', 'summary.jsonl')
    }
    estimate(again, [tmp_path / 'clip.avi'], out, settings)
    assert len(again.focals) == 6


def test_what_a_video_that_was_cut_off_has_of_other_settings_is_made_anew(tmp_path):
    make_video(tmp_path / 'clip.avi')
    with pytest.raises(KeyboardInterrupt):
        estimate(Estimator(9 + 4), [tmp_path / 'clip.avi'], tmp_path, Settings('w'))
    other = Estimator()
    estimate(other, [tmp_path / 'clip.avi'], tmp_path, Settings('w', focal_px=90.0))
    assert other.focals == [90.0] * 18  # samples and frames


def test_bad_files_are_listed_and_the_others_done(folder, tmp_path):
    (folder / 'f1.png').write_bytes(b'no picture')
    (folder / 'f3.png').write_bytes((folder / 'f3.png').read_bytes()[:-20])  # of the sequence
    (folder / 'empty.mp4').write_bytes(b'')
    (folder / 'noise.avi').write_bytes(b'RIFF' + bytes(1000))
    out = tmp_path / 'out'
    settings = Settings('w', formats=('png16',))
    failures = estimate(Estimator(), [folder], out, settings)
    assert len(failures) == 4
    assert {failure.split(': ')[0].rsplit('/')[-1] for failure in failures} == {
        *('f1.png', 'f3.png', 'empty.mp4', 'noise.avi')
    }
    assert len(list(out.glob('*_mm.png'))) == 3
    assert records(out)['f1.png']['status'] == 'failed'
    picture(folder / 'f1.png', brightness=20)  # repaired
    failures = estimate(Estimator(), [folder], out, settings)
    assert len(failures) == 3 and records(out)['f1.png']['status'] == 'done'
    assert len((out / 'summary.jsonl').read_text().splitlines()) == 7


def test_an_answer_that_is_not_finite_is_the_fault_of_its_frame(folder, tmp_path):
    make_video(tmp_path / 'clip.avi')  # its first frame is black, too
    out, settings = tmp_path / 'out', Settings('w', formats=('npz',))
    inputs = [tmp_path / 'clip.avi', folder]
    message = 'the network gave values that are not finite'
    expected = [f'{tmp_path}/clip.avi: frame 0: {message}', f'{folder}/f0.png: {message}']
    assert estimate(Blind(), inputs, out, settings) == expected
    assert focals(out) == [100.0] * 4  # the median of 50 + 20, 40, 60, 80
    assert count_frames(out / 'clip_depth.mp4') == 9
    depths = [np.load(out / 'clip' / f'{index:06d}.npz')['depth_m'] for index in range(9)]
    assert [bool(np.isfinite(depth_m).all()) for depth_m in depths] == [False] + [True] * 8
    again = Blind()
    assert estimate(again, inputs, out, settings) == expected and not again.focals


@pytest.mark.parametrize('fault', [ValueError('too small'), OutOfMemoryError('too little')])
def test_a_picture_that_the_network_does_not_take_costs_no_other(tmp_path, fault):
    for index, name in enumerate('abc'):
        picture(tmp_path / f'{name}.png', brightness=50 * index)
    estimator = Blind()
    estimator.fault = fault
    found = estimate(estimator, [tmp_path], tmp_path / 'out', Settings('w'))
    assert found == [f'{tmp_path}/a.png: {fault}'] and len(estimator.focals) == 2


def test_a_shorter_video_leaves_no_frame_of_the_longer_one(tmp_path):
    out, settings = tmp_path / 'out', Settings('w', formats=('npz', 'png16'))
    for frames in (9, 4):
        make_video(tmp_path / 'clip.avi', frames)
        assert estimate(Estimator(), [tmp_path / 'clip.avi'], out, settings) == []
        found = sorted(path.name for path in (out / 'clip').iterdir())
        assert found == sorted(
            f'{index:06d}{ending}'
            for index in range(frames)
            for ending in ('.json', '.npz', '_mm.png')
        )


def test_a_run_that_was_cut_off_leaves_no_file_of_other_settings(tmp_path):
    path, out = tmp_path / 'clip.avi', tmp_path / 'out'
    make_video(path, 9)
    with pytest.raises(KeyboardInterrupt):
        settings = Settings('w', focal_px=90.0, formats=('npz', 'png16'))
        estimate(Estimator(interrupt_at=9 + 6), [path], out, settings)
    make_video(path, 4)
    assert estimate(Estimator(), [path], out, Settings('w', formats=('png16',))) == []
    found = sorted(each.name for each in (out / 'clip').iterdir())
    assert found == sorted(f'{i:06d}{ending}' for i in range(4) for ending in ('.json', '_mm.png'))


@pytest.mark.parametrize('ending', ['.avi', '.mkv'])
def test_a_video_that_is_cut_off_is_done_as_far_as_it_goes_and_told(tmp_path, capsys, ending):
    path = tmp_path / f'clip{ending}'
    make_video(path, 20, 10.0, noise)
    assert measure_video(path) == (20, 0.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, missing_s = measure_video(path)
    assert 5 < frames < 15 and missing_s == pytest.approx((20 - frames) / 10.0)
    assert estimate(Estimator(), [path], tmp_path / 'out', Settings('w')) == []
    assert f'{path}: the last {missing_s:.1f} s of its length' in capsys.readouterr().out
    assert count_frames(tmp_path / 'out' / 'clip_depth.mp4') == frames


def test_names_that_are_not_utf_8_are_refused(folder, tmp_path):
    name = os.fsdecode(b'caf\xe9')
    for ending in ('.png', '.avi'):
        (tmp_path / f'{name}{ending}').write_bytes(b'')
    inputs = [tmp_path / f'{name}.png', folder, tmp_path / f'{name}.avi']
    failures = estimate(Estimator(), inputs, tmp_path / 'out', Settings('w'))
    assert len(failures) == 2 and all('not UTF-8: rename it' in failure for failure in failures)
    assert len(list((tmp_path / 'out').glob('*.npz'))) == 5
    with pytest.raises(WriteError, match='not UTF-8'):
        estimate(Estimator(), [folder], tmp_path / name, Settings('w'))


def test_a_file_in_the_place_of_a_folder_of_frames_is_told_before_anything_is_computed(tmp_path):
    make_video(tmp_path / 'clip.avi')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'clip').write_text('')
    with pytest.raises(WriteError, match='out/clip is a file, and .*clip.avi would take its place'):
        estimate(None, [tmp_path / 'clip.avi'], tmp_path / 'out', Settings('w', formats=('npz',)))


def test_weights_are_not_loaded_for_files_that_are_not_there(tmp_path):
    def load():
        raise AssertionError

    absent = tmp_path / 'absent_1.png', tmp_path / 'absent.mp4'
    failures = estimate_files(load, absent, tmp_path / 'out', Settings('w'))
    assert failures == [f'{path}: No such file or directory' for path in absent]
    assert [record['status'] for record in records(tmp_path / 'out').values()] == ['failed'] * 2


def test_every_format_is_read_back(tmp_path):
    openexr = pytest.importorskip('OpenEXR')
    picture(tmp_path / 'a.b.png')
    out = tmp_path / 'out'
    estimate(Estimator(), [tmp_path / 'a.b.png'], out, Settings('w', formats=(*WRITERS,)))
    depth_m = np.load(out / 'a.b.npz')['depth_m']
    with openexr.File(str(out / 'a.b.exr')) as file:
        np.testing.assert_array_equal(file.channels()['Z'].pixels, depth_m)
    millimetres = cv2.imread(str(out / 'a.b_mm.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(millimetres, depth_m * 1000, atol=0.51)
    assert cv2.imread(str(out / 'a.b_depth.png')).shape == (24, 32 + 90, 3)
    header, body = (out / 'a.b.ply').read_bytes().split(b'end_header\n')
    vertices = np.frombuffer(body, [('xyz', '<f4', 3), ('rgb', 'u1', 3)])
    points_m = unproject(depth_m, Intrinsics.from_focal(60.0, 32, 24))
    assert b'element vertex 768' in header and (vertices['rgb'] == 10).all()
    np.testing.assert_array_equal(vertices['xyz'], points_m.reshape(-1, 3))
    camera = json.loads((out / 'a.b.json').read_text())
    assert (camera['width'], camera['height'], camera['cx']) == (32, 24, 15.5)
    assert camera['focal_source'] == 'network' and camera['fx'] == 60.0


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_computed(folder, tmp_path):
    (tmp_path / 'file').write_text('')
    estimator = Estimator()
    with pytest.raises(WriteError, match='cannot write into'):
        estimate(estimator, [folder], tmp_path / 'file' / 'out', Settings('w'))
    assert estimator.focals == []


def test_results_of_another_input_are_not_overwritten(tmp_path, monkeypatch):
    for name in 'ab':
        picture(tmp_path / name / 'x.png', brightness=ord(name))
    out, settings = tmp_path / 'out', Settings('w', formats=('npz',))
    estimate(Estimator(), [tmp_path / 'a' / 'x.png'], out, settings)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    estimator = Estimator()
    message = f'{out}/x.json belongs to {tmp_path}/a/x.png, and .*/b/x.png would take its place'
    with pytest.raises(WriteError, match=message):
        estimate(estimator, [tmp_path / 'b'], out, settings)
    assert estimator.focals == []
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    monkeypatch.chdir(tmp_path / 'a')  # the same file, named from elsewhere: finished
    assert estimate(estimator, ['x.png'], out, settings) == [] and estimator.focals == []
    (out / 'x.json').write_text('{"shapes": []}')  # what another program keeps beside a picture
    with pytest.raises(WriteError, match='belongs to something else'):
        estimate(estimator, ['x.png'], out, settings)


def test_results_do_not_overwrite_inputs(tmp_path):
    for name in ('x', 'x_depth'):  # a picture and its true depth, in one folder
        picture(tmp_path / f'{name}.png')
    before, estimator = (tmp_path / 'x_depth.png').read_bytes(), Estimator()
    inputs = sorted(tmp_path.glob('*.png'))
    with pytest.raises(WriteError, match='x_depth.png is an input, and .*/x.png would take its'):
        estimate(estimator, inputs, tmp_path, Settings('w'))
    assert estimator.focals == [] and (tmp_path / 'x_depth.png').read_bytes() == before
    assert estimate(estimator, inputs, tmp_path, Settings('w', formats=('npz',))) == []
    videos = [tmp_path / f'{name}.mp4' for name in ('clip', 'clip_depth')]
    with pytest.raises(WriteError, match='clip_depth.mp4 is an input, and .*/clip.mp4 would'):
        estimate(estimator, videos, tmp_path, Settings('w'))


def test_what_is_there_of_another_video_is_not_thrown_away(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        make_video(tmp_path / name / 'clip.avi')
    with pytest.raises(KeyboardInterrupt):
        estimate(Estimator(9 + 4), [tmp_path / 'a'], tmp_path / 'out', Settings('w'))
    with pytest.raises(WriteError, match='belongs to .*/a/clip.avi'):
        estimate(Estimator(), [tmp_path / 'b'], tmp_path / 'out', Settings('w'))
    again = Estimator()
    assert estimate(again, [tmp_path / 'a'], tmp_path / 'out', Settings('w')) == []
    assert len(again.focals) == 5


@pytest.mark.parametrize('left', [0, 1])
def test_a_video_that_does_not_come_out_whole_is_no_result(tmp_path, monkeypatch, left):
    picture(tmp_path / '0.jpg', size=(64, 48))
    writer = cv2.VideoWriter

    class Silent:  # what OpenCV does when the disk is full: nothing
        fourcc = staticmethod(writer.fourcc)

        def __init__(self, *arguments):
            self.real, self.left = writer(*arguments) if left else None, left

        def isOpened(self):  # noqa: N802
            return True

        def write(self, frame):
            if self.left:
                self.left -= 1
                self.real.write(frame)

        def release(self):
            if self.real:
                self.real.release()

    monkeypatch.setattr(cv2, 'VideoWriter', Silent)
    with pytest.raises(WriteError, match='did not come out whole; is the disk full'):
        write_video(tmp_path / 'v.mp4', [tmp_path / '0.jpg'] * 2, 10.0)
    assert [path.name for path in tmp_path.iterdir()] == ['0.jpg']


@pytest.mark.parametrize(
    ('told_hz', 'rate_hz'),
    [(119.8765, 119.88), (999.876, 999.9), (23.976, 23.976), (30000 / 1001, 29.97), (0.5, 0.5)],
)
def test_mpeg_4_gets_a_rate_that_it_can_tell(tmp_path, told_hz, rate_hz):
    picture(tmp_path / '0.jpg', size=(64, 48))
    write_video(tmp_path / 'v.mp4', [tmp_path / '0.jpg'] * 4, told_hz)
    assert frame_rate(tmp_path / 'v.mp4') == pytest.approx(rate_hz, abs=1e-3)


def test_a_video_that_cannot_be_opened_for_writing_is_said(tmp_path):
    picture(tmp_path / '0.jpg', size=(64, 48))
    with pytest.raises(
        WriteError, match=r'v.mp4: OpenCV opens no MPEG-4 video of 64x48 at 1e-05 Hz'
    ):
        write_video(tmp_path / 'v.mp4', [tmp_path / '0.jpg'], 1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ['0.jpg']


def test_a_thousand_frames_a_second_are_a_placeholder(tmp_path):
    for rate_hz, found_hz in ((1000.0, DEFAULT_RATE_HZ), (500.0, 500.0)):
        make_video(tmp_path / 'clip.avi', rate_hz=rate_hz)
        assert frame_rate(tmp_path / 'clip.avi') == pytest.approx(found_hz)


def test_a_time_in_the_name_of_a_video_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = '2024-05-01T12:30:00'
    make_video(tmp_path / f'{name}.avi')
    assert estimate(Estimator(), [f'{name}.avi'], Path('out'), Settings('w')) == []
    assert count_frames(Path('out', f'{name}_depth.mp4')) == 9
    (tmp_path / f'{name}_depth.mp4').symlink_to(tmp_path / 'out' / f'{name}_depth.mp4')
    assert frame_rate(Path(f'{name}_depth.mp4')) == pytest.approx(12.0)


def test_what_is_no_video_is_said(tmp_path):
    for content in (b'', b'RIFF' + bytes(1000)):
        (tmp_path / 'a.avi').write_bytes(content)
        with pytest.raises(ImageError, match=r'a\.avi: (not a video|a video without)'):
            count_frames(tmp_path / 'a.avi')
    with pytest.raises(ImageError, match='No such file'):
        count_frames(tmp_path / 'absent.avi')


def test_the_summary_survives_a_run_that_was_killed(tmp_path):
    path = tmp_path / 'summary.jsonl'
    path.write_text('{"input": "a", "n": 1}\n{"input": "b", "n": 1}\n{"inp')
    summary = Summary(path)
    summary.add({'input': 'a', 'n': 1})
    summary.add({'input': 'b', 'n': 2})
    summary.add({'input': 'c', 'n': 3})
    summary.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert found == [{'input': 'a', 'n': 1}, {'input': 'b', 'n': 2}, {'input': 'c', 'n': 3}]
