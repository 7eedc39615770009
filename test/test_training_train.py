"""The loop learns, stages agree with the network, and the backbone is the pretrained one."""

import numpy as np
import pytest
import torch

from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import load_network, read_record
from depth_pro_ros.training import dinov2
from depth_pro_ros.training.frames import Frames, collate
from depth_pro_ros.training.measure import by_constants, measure
from depth_pro_ros.training.progressive import (
    FULL,
    GLOBAL,
    MIDDLE_TILES,
    forward_levels,
    output_px,
    start_as_upsampling,
)
from depth_pro_ros.training.rooms import Frame, write_frames
from depth_pro_ros.training.train import Stage, compute_loss, schedule, train

TINY = DepthProConfig(
    tile_size=64,
    patch_size=8,
    vit_width=32,
    vit_depth=2,
    vit_heads=2,
    intermediate_blocks=(0, 1),
    share_vit=True,
    neck_dims=(16, 16, 16, 16, 16),
    decoder_dim=16,
    head_dim=8,
)


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
    write_frames(folder, frames, seed=0)
    return folder


def test_frames_survive_the_disk(data):
    frames = Frames(data)
    assert len(frames) == 8
    assert frames[3].depth_m.dtype == np.float16 and frames[3].rgb.shape == (48, 48, 3)
    assert 50 <= frames[3].fov_deg <= 80


@pytest.mark.parametrize('levels', [GLOBAL, MIDDLE_TILES, FULL])
def test_every_stage_returns_its_size(levels):
    network = DepthPro(TINY).eval()
    answer = forward_levels(network, torch.zeros(2, 3, 256, 256), levels)
    side = output_px(network, levels)
    assert answer.inverse_depth.shape == (2, 1, side, side)
    assert answer.fov_deg.shape == (2,)


def test_the_field_of_view_does_not_depend_on_the_stage():
    network = DepthPro(TINY).eval()
    image = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.inference_mode():
        a, b, c = (forward_levels(network, image, n).fov_deg for n in (GLOBAL, MIDDLE_TILES, FULL))
    torch.testing.assert_close(a, c, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(b, c, atol=1e-4, rtol=1e-4)


def test_the_start_answers_about_the_means():
    torch.manual_seed(0)
    network = DepthPro(TINY).eval()
    start_as_upsampling(network, 0.4, 64.0)
    with torch.inference_mode():
        answer = network(torch.zeros(1, 3, 256, 256))
    assert answer.inverse_depth.median().item() == pytest.approx(0.4, abs=0.15)
    assert answer.fov_deg.item() == pytest.approx(64, abs=8)


def test_training_lowers_the_loss_and_writes_what_it_did(data, tmp_path):
    torch.set_num_threads(1)
    output = tmp_path / 'tiny.safetensors'
    stages = (
        Stage(GLOBAL, steps=60, batch=4, rate=3e-3, encoder_rate=1e-3),
        Stage(FULL, steps=3, batch=2, rate=1e-4, encoder_rate=0.0),
    )
    torch.manual_seed(0)
    fresh = DepthPro(TINY)
    start_as_upsampling(fresh, 0.38, 64.0)
    trained = train(data, output, data, stages=stages, config=TINY, pretrained=False)
    frames = Frames(data)
    batch = collate([frames[i] for i in range(8)], 256, output_px(trained, GLOBAL))
    with torch.no_grad():
        before = compute_loss(fresh, batch, GLOBAL)[1]
        after = compute_loss(load_network(output).float(), batch, GLOBAL)[1]
    assert after['mae'] < 0.7 * before['mae']
    record = read_record(output)
    assert [stage['steps'] for stage in record['stages']] == [60, 3]
    assert output.with_name('metrics.jsonl').read_text().count('\n') >= 8


def test_the_blind_baselines_measure_as_they_should(data):
    frames = Frames(data)
    scores = {n: measure(p, frames, 64) for n, p in by_constants(frames).items()}
    assert (
        0 < scores['mean map']['abs_rel_scaled'] <= scores['constant depth']['abs_rel_scaled'] + 0.2
    )
    truth = measure(lambda b: (b.inverse_depth[0, 0].numpy(), b.fov_deg.numpy()), frames, 64)
    assert truth['abs_rel'] == 0 and truth['delta1'] == 1 and truth['fov_error_deg'] == 0


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


def test_the_pretrained_backbone_fits_the_small_network():
    cached = dinov2.cache_folder('dinov2') / dinov2.CACHED
    if not cached.exists():
        pytest.skip(f'no {cached}; a training run downloads it')
    network = DepthPro(DepthProConfig.small())
    dinov2.load_backbone(network)
    vit = network.encoder.patch_encoder
    gamma = torch.load(cached, weights_only=True)['blocks.3.ls1.gamma']
    torch.testing.assert_close(vit.blocks[3].ls1.gamma.detach(), gamma)
    assert vit.pos_embed.shape == (1, 65, 384)
