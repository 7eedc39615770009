"""`depth_pro evaluate`: what is averaged, what is written, and what survives an interruption."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from functools import partial

import cv2
import numpy as np
import pytest

from depth_pro_ros.estimator import DepthPrediction
from depth_pro_ros.evaluation import table
from depth_pro_ros.evaluation.datasets import find_frames
from depth_pro_ros.evaluation.datasets.frames import inside_white_border
from depth_pro_ros.evaluation.evaluate import evaluate
from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.evaluation.published import published
from depth_pro_ros.evaluation.score import matched, score
from depth_pro_ros.evaluation.sheet import KEPT, ContactSheet
from depth_pro_ros.training.frames import Frames


def a_truth(depth_m, focal_px=100.0, **more):
    rgb = np.full((*depth_m.shape, 3), 90, np.uint8)
    return Truth(rgb, depth_m.astype(np.float32), focal_px, **more)


def a_frame(name='room_0', source='room', truth=None, **more):
    return Frame(name, source, lambda: truth, **more)


@pytest.fixture
def ramp():
    """Give depth from 1 to 5 m, with a hole."""
    depth_m = np.linspace(1, 5, 20 * 30, dtype=np.float32).reshape(20, 30)
    depth_m[3:6, 4:9] = np.nan
    return depth_m


def test_a_wrong_focal_length_is_told_from_a_wrong_scale(ramp):
    truth = a_truth(ramp, focal_px=100.0)
    predicted = np.nan_to_num(ramp, nan=2.0) * 3.0  # 1.5 by the focal length, 2 by the scale
    found = score(a_frame(), truth, predicted, focal_px=150.0)
    assert found.own.abs_rel == pytest.approx(2.0, rel=1e-5)
    assert found.given.abs_rel == pytest.approx(1.0, rel=1e-5)
    assert found.scaled.abs_rel == pytest.approx(0.0, abs=1e-6)
    assert score(a_frame(), a_truth(ramp, None), predicted, 150.0).given is None


def test_only_depth_within_the_limits_is_measured(ramp):
    truth = a_truth(np.where(ramp > 4, np.float32(50.0), ramp))
    predicted = np.where(ramp > 4, 1.0, np.nan_to_num(ramp, nan=9.0))
    found = score(a_frame(max_depth_m=10.0), truth, predicted, 100.0)
    assert found.own.abs_rel == pytest.approx(0.0, abs=1e-6)
    far = np.full_like(ramp, np.inf)  # sky, where the truth says 1 to 5 m, counts as the limit
    found = score(a_frame(max_depth_m=10.0), a_truth(ramp), far, 100.0)
    assert found.own.abs_rel == pytest.approx(float(np.nanmean((10 - ramp) / ramp)), rel=1e-5)
    with pytest.raises(DataError, match='no true depth between'):
        score(a_frame(max_depth_m=0.5), truth, predicted, 100.0)


def test_a_prediction_of_another_size_is_resized_in_inverse_depth():
    edge = np.array([[1.0, 1.0, 4.0, 4.0]], np.float32).repeat(4, axis=0)
    wide = matched(edge, (4, 8))
    assert wide.shape == (4, 8)
    # a quarter of the way from 1/1 to 1/4
    assert wide[0, 3] == pytest.approx(1 / (1 - 0.75 * 0.25))
    assert matched(np.full((2, 2), np.inf, np.float32), (4, 4)).max() == pytest.approx(1e4)


def test_rows_average_frames_then_sources(ramp):
    predicted = np.nan_to_num(ramp, nan=2.0)
    scores = [
        score(a_frame('a_0', 'a'), a_truth(ramp), 1.5 * predicted, 100.0),
        score(a_frame('a_1', 'a'), a_truth(ramp), 1.1 * predicted, 140.0),
        score(a_frame('a_2', 'a'), a_truth(ramp), predicted, 140.0),
        score(a_frame('b_0', 'b'), a_truth(ramp), predicted, 160.0),
    ]
    rows = {(row.source, row.answer): row for row in table.make_rows(scores)}
    assert rows['a', 'own focal'].figures['abs_rel'] == pytest.approx(0.2, rel=1e-4)
    assert rows['a', 'own focal'].figures['focal_25'] == pytest.approx(1 / 3)  # 0, 40, 40 % off
    assert rows['a', 'own focal'].figures['focal_50'] == 1.0
    assert rows['b', 'own focal'].figures['focal_50'] == 0.0
    mean = rows[table.MEAN, 'own focal']
    assert mean.figures['abs_rel'] == pytest.approx(0.1, rel=1e-4) and mean.frames == 4
    assert rows['b', 'constant, frame'].figures['abs_rel'] == pytest.approx(
        float(np.nanmean(np.abs(np.nanmedian(ramp) - ramp) / ramp)), rel=1e-4
    )


def test_a_constant_is_held_to_the_limits_as_predictions_are():
    near, far = np.ones((10, 10), np.float32), np.full((20, 20), 4, np.float32)
    scores = [
        score(a_frame(max_depth_m=1.5), a_truth(near), near, 100.0),
        score(a_frame(), a_truth(far), far, 100.0),
    ]
    rows = {row.answer: row for row in table.make_rows(scores)}
    assert rows['constant, source'].figures['abs_rel'] == 0.25  # 1.5 m instead of 1, and 4 m


def test_the_sample_for_constants_is_of_all_columns_and_keeps_no_picture():
    columns = np.tile(np.linspace(1, 5, 16, dtype=np.float32), (2048, 1))  # 8 times the sample
    found = score(a_frame(), a_truth(columns), columns, 100.0)
    assert np.median(found.true_sample_m) == pytest.approx(3.0, abs=0.2)
    assert found.true_sample_m.base is None and found.true_sample_m.size == 4096


def test_the_table_has_the_papers_figures_below_ours(ramp):
    scores = [score(a_frame('x', 'sintel'), a_truth(ramp), np.nan_to_num(ramp, nan=2.0), 100.0)]
    markdown = table.as_markdown(table.make_rows(scores), 'title')
    line = next(line for line in markdown.splitlines() if 'Depth Pro (paper)' in line)
    assert '| 40.0 |' in line and '| 0.409 |' in line and '| 0.508 |' in line
    assert published('room') == {}
    assert published('sunrgbd')['Depth Pro (paper)'] == pytest.approx(
        {'delta1': 0.89, 'abs_rel': 0.113, 'log10': 0.049}
        | {'delta2': 0.98506, 'delta3': 0.99547, 'si_log': 7.841}
    )
    delta1 = [figures['delta1'] for figures in published('sunrgbd').values()]
    assert delta1 == pytest.approx([0.89, 0.724, 0.756, 0.536, 0.958, 0.857])
    assert 'edge R' not in markdown  # no frame has a mask


def test_a_mask_gives_boundary_recall(ramp):
    square = np.full((20, 30), 4.0)
    square[5:15, 8:20] = 2.0
    truth = a_truth(np.full((20, 30), 3.0), mask=(square < 3).astype(np.float32))
    found = score(a_frame(), truth, square.astype(np.float32), 100.0)
    assert found.boundary_recall == pytest.approx(1.0)
    assert found.boundary_f1 == 0.0  # the true depth is flat


def test_the_sheet_keeps_the_best_and_the_worst(ramp):
    sheet = ContactSheet()
    factors = np.random.default_rng(0).permutation(np.linspace(1.0, 2.0, 21))
    for factor in factors:
        truth = a_truth(ramp)
        predicted = (np.nan_to_num(ramp, nan=2.0) * factor).astype(np.float32)
        sheet.add(score(a_frame(f'{factor:.2f}'), truth, predicted, 100.0), truth, predicted)
    kept = [round(error, 2) for error, _, _ in sheet._strips]
    assert kept == [0, 0.05, 0.1, 0.15, 0.85, 0.9, 0.95, 1.0]
    picture = sheet.draw()
    assert picture.shape == (22 + 2 * KEPT * (22 + 213), 4 * 320, 3)
    worst = picture[-100, -160].astype(int)  # the error of twice the depth is red
    assert worst[0] > 150 and worst[1] < 60 and worst[2] < 60


@pytest.fixture
def folder(tmp_path):
    """Give a folder with frames.json: two frames of one source, one of another with a crop."""
    entries = []
    for name in ('hall_0', 'hall_1', 'yard [b]'):
        rgb = np.random.default_rng(0).integers(0, 200, (40, 60, 3), np.uint8)
        depth = np.full((40, 60), 2500, np.uint16)
        depth[:5] = 0
        cv2.imwrite(str(tmp_path / f'{name}.png'), rgb)
        cv2.imwrite(str(tmp_path / f'{name}_depth.png'), depth)
        entries.append(
            {
                'name': name,
                'image': f'{name}.png',
                'depth': f'{name}_depth.png',
                'depth_units_per_metre': 500.0,
                'fx': 55.0,
            }
        )
    entries[2] |= {'crop': [0, 30, 10, 60], 'max_depth_m': 10.0, 'fx': None}
    (tmp_path / 'frames.json').write_text(json.dumps({'frames': entries}))
    return tmp_path


def test_a_folder_of_frames_is_read(folder):
    frames = find_frames(folder)
    assert [(frame.name, frame.source) for frame in frames] == [
        ('hall_0', 'hall'),
        ('hall_1', 'hall'),
        ('yard [b]', 'yard [b]'),
    ]
    truth = frames[0].read()
    assert truth.depth_m[20, 20] == 5.0 and np.isnan(truth.depth_m[2, 2])
    assert truth.focal_px == 55.0
    cropped = frames[2].read()
    assert cropped.rgb.shape == (30, 50, 3) and cropped.depth_m.shape == (30, 50)
    assert frames[2].max_depth_m == 10.0
    assert [frame.name for frame in find_frames(folder, limit=2)] == ['hall_0', 'yard [b]']
    assert [len(find_frames(folder, limit=limit)) for limit in (1, 2, 3, 9)] == [1, 2, 3, 3]


def test_a_white_border_all_around_is_left_out():
    rgb = np.full((40, 60, 3), 252, np.uint8)
    rgb[6:36, 5:54] = 100
    assert inside_white_border(rgb) == np.s_[8:34, 7:52]
    rgb[6:, 5:54] = 100  # open below: a bright wall, no border
    assert inside_white_border(rgb) == np.s_[:40, :60]
    white = np.full((4, 4, 3), 255, np.uint8)
    assert inside_white_border(white) == np.s_[:4, :4]


class Halves:
    """An estimator whose depth is always 2.5 m, at a focal length of 60."""

    calls = 0

    def predict(self, rgb):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return DepthPrediction(np.full(rgb.shape[:2], 2.5, np.float32), 60.0, 50.0, True)


def test_a_bad_frame_is_reported_and_an_interruption_keeps_what_was_measured(
    folder, tmp_path, capsys
):
    (folder / 'hall_0.png').write_bytes(b'no picture')
    frames = [*find_frames(folder), *find_frames(folder)[1:]]
    with pytest.raises(KeyboardInterrupt):
        evaluate(Halves(), frames, tmp_path / 'out', 'data[/b]', focal_px=70.0)
    found = json.loads((tmp_path / 'out' / 'evaluation.json').read_text())
    assert found['title'] == 'data[/b] (2 of 5 frames)'
    assert [frame['name'] for frame in found['frames']] == ['hall_1', 'yard [b]']
    assert [frame['true_focal_px'] for frame in found['frames']] == [55.0, 70.0]
    [failure] = found['failures']
    assert failure.startswith('hall_0: ') and 'hall_0.png: not a picture' in failure
    assert found['frames'][0]['own']['abs_rel'] == 0.5
    assert found['rows'][0]['figures']['boundary_recall'] is None
    assert (tmp_path / 'out' / 'evaluation.png').exists()
    printed = capsys.readouterr().out
    assert '0.500' in printed and '…' not in printed
    assert 'data[/b] (2 of 5 frames)' in printed and 'yard [b]' in printed  # no markup of Rich
    markdown = (tmp_path / 'out' / 'evaluation.md').read_text('utf-8')
    assert '| hall | 1 | own focal | 0.500 | 0.301 | 2.50 |' in markdown

    # nothing of the run before is left where all frames fail
    assert evaluate(Halves(), frames[:1], tmp_path / 'out', 'title') == [failure]
    found = json.loads((tmp_path / 'out' / 'evaluation.json').read_text())
    assert (found['title'], found['frames']) == ('title (0 of 1 frames)', [])
    assert found['failures'] == [failure]
    assert 'hall' not in (tmp_path / 'out' / 'evaluation.md').read_text('utf-8')


def test_a_terminal_that_cannot_show_a_letter_does_not_cost_the_results(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr('sys.stdout', io.TextIOWrapper(io.BytesIO(), 'latin-1'))  # without a delta
    with pytest.raises(UnicodeEncodeError):
        evaluate(Halves(), find_frames(folder)[:2], tmp_path / 'out', 'title')
    assert 'δ1' in (tmp_path / 'out' / 'evaluation.md').read_text('utf-8')
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'evaluation.md', 'evaluation.json', 'evaluation.png'}


def test_a_frame_without_true_depth_within_the_limits_is_counted_and_no_failure(
    folder, tmp_path, capsys
):
    frames = find_frames(folder)
    frames[0] = dataclasses.replace(frames[0], max_depth_m=0.5)
    assert evaluate(Halves(), frames[:2], tmp_path / 'out', 'title') == []
    found = json.loads((tmp_path / 'out' / 'evaluation.json').read_text())
    assert (found['failures'], found['without_depth']) == ([], ['hall_0'])
    assert 'without true depth within the limits: 1\n' in capsys.readouterr().out
    told = evaluate(Halves(), frames[:1], tmp_path / 'out', 'title')
    assert told == ['no frame has true depth within the limits']


class Blinking(Halves):
    """An estimator whose first answer is an error."""

    def __init__(self, error):
        self.error = error

    def predict(self, rgb):
        prediction = super().predict(rgb)
        if self.calls == 1:
            raise self.error
        return prediction


@pytest.mark.parametrize('kind', [ArithmeticError, IndexError, MemoryError, TypeError])
def test_whatever_breaks_in_a_frame_is_the_fault_of_that_frame(folder, tmp_path, kind):
    error = kind('the network gave values that are not finite')
    failures = evaluate(Blinking(error), find_frames(folder)[:2], tmp_path / 'out', 'title')
    told = str(error) if kind is ArithmeticError else repr(error)
    assert failures == [f'hall_0: {told}']
    found = json.loads((tmp_path / 'out' / 'evaluation.json').read_text())
    assert [frame['name'] for frame in found['frames']] == ['hall_1']
    assert Frames([partial(Blinking(error).predict, np.zeros((1, 1)))])[0] is None  # in training


def test_a_missing_library_is_no_fault_of_a_frame_and_ends_the_run(folder, tmp_path):
    error = ModuleNotFoundError()
    with pytest.raises(ModuleNotFoundError):
        evaluate(Blinking(error), find_frames(folder)[:2], tmp_path / 'out', 'title')
    with pytest.raises(ModuleNotFoundError):
        Frames([partial(Blinking(error).predict, np.zeros((1, 1)))])[0]


@pytest.mark.parametrize(
    ('content', 'message'),
    [('no json', 'frames.json is not as it should be'), ('{}', "KeyError('frames')")],
)
def test_a_damaged_list_of_frames_is_said(tmp_path, content, message):
    (tmp_path / 'frames.json').write_text(content)
    with pytest.raises(DataError) as error:
        find_frames(tmp_path)
    assert message in str(error.value)


def test_an_unknown_layout_is_said_with_those_that_are_known(tmp_path):
    with pytest.raises(DataError, match=r'none of the layouts(.|\n)*frames\.json'):
        find_frames(tmp_path)
    with pytest.raises(DataError, match='no folder'):
        find_frames(tmp_path / 'absent')
    with pytest.raises(DataError, match="no data set 'moon': use auto, rooms, frames, nyu"):
        find_frames(tmp_path, 'moon')


def test_json_has_no_nan():
    assert table.without_nan({'a': [math.nan, 1.0], 'b': (2,)}) == {'a': [None, 1.0], 'b': [2]}
