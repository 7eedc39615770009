"""`depth_pro bench`: both sides compute the same, and what is said of them is so."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import REDUCED, TINY_SHARED, lively_network

from depth_pro_ros import cli
from depth_pro_ros.bench import bench as benchmark
from depth_pro_ros.bench.bench import Report, count_operations, picture, row
from depth_pro_ros.bench.sides import Setting, compile_forward, installed_rivals
from depth_pro_ros.bench.worker import Timing, Worker
from depth_pro_ros.network import DepthProConfig
from depth_pro_ros.network.checkpoint import save_network


def test_both_sides_in_one_table(tmp_path, capsys, monkeypatch):
    pytest.importorskip('transformers')
    monkeypatch.setattr(benchmark, 'PRODUCT_SIZE', 64)
    weights, figures = tmp_path / 'reduced.safetensors', tmp_path / 'figures.json'
    save_network(weights, lively_network(REDUCED), {})
    code = cli.main(
        ['bench', '--weights', str(weights), '--precision', 'bf16', '--device', 'cpu']
        + ['--size', '320x240', '--rounds', '2', '--json', str(figures)]
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert '| transformers | fp32 |' in printed and '320x240 picture, 2 times' in printed
    found = json.loads(figures.read_text())
    rows = {(each['side'], each['precision']): each for each in found['rows']}
    assert list(rows) == [
        (side, precision)
        for precision in ('fp32', 'bf16')
        for side in ('transformers', 'depth_pro_ros')
    ]
    exact, coarse = rows['depth_pro_ros', 'fp32'], rows['depth_pro_ros', 'bf16']
    assert exact['depth_difference'][2] < 1e-2 and exact['depth_difference'][0] < 1e-4
    assert exact['focal_difference'] < 1e-4
    assert 1e-4 < coarse['depth_difference'][0] < 0.1  # another precision it was
    assert all(each['peak_bytes'] > 1e8 and each['p50_s'] > 0 for each in rows.values())


def measured(sides, setting):
    """Give what `alternate` gives, without processes."""
    facts = {'load_s': 0.0, 'warm_up_s': 0.0}
    timing = Timing(1.0, np.ones((48, 64), np.float32), 60.0, 10**9)
    return [(SimpleNamespace(side=s, setting=setting, facts=facts), [timing]) for s in sides], []


def test_only_the_others_also_run_compiled(tmp_path, monkeypatch):
    asked = []

    def alternate(sides, rounds, setting, rgb):
        asked.append((setting.arithmetic, list(sides)))
        return measured(sides, setting)

    monkeypatch.setattr(benchmark, 'PRODUCT_SIZE', 64)
    monkeypatch.setattr(benchmark, 'alternate', alternate)
    monkeypatch.setattr(benchmark, 'installed_rivals', lambda config: ['transformers'])
    weights = tmp_path / 'tiny.safetensors'
    save_network(weights, lively_network(TINY_SHARED), {})
    found = benchmark.bench(str(weights), ['fp32'], 'cpu', (64, 48), 1, compile_mode='default')
    assert asked == [
        ('fp32', ['transformers', 'depth_pro_ros']),
        ('fp32, default compiled', ['transformers']),
    ]
    assert '| transformers | fp32, default compiled |' in found.markdown()


def test_a_side_is_compiled_where_that_is_asked_for(tmp_path):
    setting = Setting(tmp_path / 'any.pt', 'cpu', 'fp32')
    model = torch.nn.ReLU()
    eager = model.forward
    compile_forward(model, setting)
    assert model.forward == eager
    compile_forward(model, dataclasses.replace(setting, compile_mode='default'))
    assert model.forward != eager and hasattr(model.forward, '_torchdynamo_orig_callable')


def test_a_side_that_fails_is_named(tmp_path):
    setting = Setting(tmp_path / 'none.pt', 'cpu', 'fp32')
    with pytest.raises(RuntimeError, match='depth_pro_ros in fp32: WeightsError: .*no weights'):
        Worker('depth_pro_ros', setting, picture(64, 48))


def test_a_side_that_ended_is_named(tiny_weights):
    with Worker('depth_pro_ros', Setting(tiny_weights, 'cpu', 'fp32'), picture(64, 48)) as worker:
        worker.run()
        worker._process.kill()
        worker._process.join()
        with pytest.raises(RuntimeError, match='depth_pro_ros in fp32: its process ended'):
            worker.run()


def test_a_side_that_cannot_be_loaded_does_not_keep_the_others(tiny_weights, monkeypatch):
    monkeypatch.setattr(benchmark, 'PRODUCT_SIZE', 64)
    sides = ['transformers']  # which cannot be this network
    monkeypatch.setattr(benchmark, 'installed_rivals', lambda config: sides)
    found = benchmark.bench(tiny_weights, ['fp32'], 'cpu', (64, 48), 1)
    assert [row.side for row in found.rows] == ['depth_pro_ros']
    assert len(found.failures) == 1 and found.failures[0].startswith('transformers in fp32: ')


@pytest.mark.parametrize(
    ('fault', 'code', 'told'),
    [
        (RuntimeError('out of memory'), 1, 'out of memory'),
        (KeyboardInterrupt(), 130, 'interrupted'),
    ],
)
def test_what_was_measured_before_the_end_is_kept(tmp_path, capsys, monkeypatch, fault, code, told):
    weights, figures = tmp_path / 'tiny.safetensors', tmp_path / 'new' / 'figures.json'
    save_network(weights, lively_network(TINY_SHARED), {})

    def fails_later(sides, rounds, setting, rgb):
        if setting.precision != 'fp32':
            raise fault
        return measured(sides, setting)

    monkeypatch.setattr(benchmark, 'alternate', fails_later)
    monkeypatch.setattr(benchmark, 'PRODUCT_SIZE', 64)
    command = ['bench', '--weights', str(weights), '--precision', 'bf16', '--device', 'cpu']
    command += ['--size', '64x48', '--rounds', '1', '--json', str(figures)]
    assert cli.main(command) == code
    printed = capsys.readouterr()
    assert '| depth_pro_ros | fp32 |' in printed.out and told in printed.err
    assert len(json.loads(figures.read_text())['rows']) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--preset', 'large', '--weights', 'depth_pro'], '--preset chooses weights itself'),
        (['--size', '8x999999'], '8x999999'),
    ],
)
def test_bench_refuses_what_it_would_ignore_or_choke_on(capsys, arguments, message):
    assert cli.main(['bench', *arguments]) == 1
    assert message in capsys.readouterr().err


def test_sums(tmp_path):
    far = np.full((2, 2), np.inf, np.float32)
    timings = [Timing(seconds, far, 100.0, 7) for seconds in (1.0, 2.0, 4.0)]
    answer = np.array([[1.0, 2.0], [4.0, np.inf]], np.float32)
    timings[-1] = Timing(4.0, answer * np.float32(1.1), 110.0, 7)
    worker = Worker.__new__(Worker)
    worker.side, worker.setting = 'ours', Setting(tmp_path, 'cpu', 'bf16')
    worker.facts = {'load_s': 3.0, 'warm_up_s': 5.0}
    found = row(worker, timings, Timing(2.0, answer, 100.0, 7), ideal_s=0.5)
    assert (found.p50_s, found.frames_per_s, found.share_of_product_rate) == (2.0, 0.5, 0.25)
    assert found.p95_s == pytest.approx(3.8)
    assert found.depth_difference == pytest.approx((0.1, 0.1, 0.1), rel=1e-5)
    assert found.focal_difference == pytest.approx(0.1)
    told = Report('a machine', 'a picture', 'weights', {'bf16': 1.0}, [found], []).markdown()
    assert '| ours | bf16 | 2.000 | 3.800 | 0.5 | 1.000 | 8 | 0.00 GB | 25% |' in told


def test_operations_are_those_of_the_paper():
    assert count_operations(DepthProConfig.large()) == pytest.approx(19.25e12, rel=0.01)


def test_rivals_that_cannot_be_this_network_are_left_out():
    assert not installed_rivals(TINY_SHARED) and not installed_rivals(DepthProConfig.small())


def test_the_picture_is_no_noise_and_no_blank():
    shown = torch.from_numpy(picture(160, 120)).float()
    step = (shown[1:] - shown[:-1]).abs().mean()
    assert shown.std() > 20 and 2 < step < 0.5 * shown.std()


def test_a_size_that_is_none(capsys):
    assert cli.main(['bench', '--size', 'large']) == 1
    assert "--size 'large' is not like 1280x720" in capsys.readouterr().err
