"""The network on a GPU: steps in one kernel, small parts beside large ones, recorded as graphs."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import MINIATURE, TINY, TINY_SHARED, TWO_SCALES, lively_network
from torch import nn

from depth_pro_ros import devices
from depth_pro_ros.devices import Transfers
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.network import steps
from depth_pro_ros.network.depth_pro import DepthProOutput
from depth_pro_ros.network.folded import FoldedDepthPro
from depth_pro_ros.network.recording import Recordings


def random_map(*shape: int) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(*shape, dtype=torch.float64).to(memory_format=torch.channels_last)


def test_rows_are_pixels_and_become_a_map_again():
    x = random_map(2, 5, 3, 4)
    rows = steps.as_rows(x)
    assert rows.data_ptr() == x.data_ptr()  # a view
    torch.testing.assert_close(rows[1 * 12 + 2 * 4 + 3], x[1, :, 2, 3])
    again = steps.map_of(rows, x)
    assert again.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(again, x)


def test_sum_and_norm():
    x, branch, gamma = random_map(2, 3, 4, 8), random_map(2, 3, 4, 8), torch.rand(8).double()
    norm = nn.LayerNorm(8).double()
    total, normed = steps.add_norm(x, branch, gamma, norm)
    torch.testing.assert_close(total, x + gamma * branch)
    torch.testing.assert_close(normed, norm(x + gamma * branch))


def residual_and_expected(dtype):
    torch.manual_seed(4)
    first, second = (nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False) for _ in range(2))
    x, other, bias = random_map(2, 16, 6, 5), random_map(2, 16, 6, 5) + 1, torch.rand(16)
    hidden = F.relu(first.double()(F.relu(x)))
    branch = F.conv2d(hidden, second.double().weight, bias.double(), padding=1)
    for layer in first, second:
        layer.to(dtype, memory_format=torch.channels_last)
    found = [
        steps.residual(first, second, bias.to(dtype), x.to(dtype), *others).double()
        for others in ((), (other.to(dtype),))
    ]
    return found, [x + branch, x + branch + other]


def test_residual_with_another_map_and_another_bias():
    for found, expected in zip(*residual_and_expected(torch.float64), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif(not steps.has_onednn_bf16(), reason='oneDNN has no bf16 here')
def test_what_onednn_does_within_the_products():
    x = torch.randn(2, 3, 4, 16).bfloat16()
    assert steps.fuses_on_cpu(x) and not steps.fuses_on_cpu(x.float())
    for found, expected in zip(*residual_and_expected(torch.bfloat16), strict=True):
        assert (found - expected).abs().max() < 2e-2 * expected.abs().max()
    layer = nn.Linear(16, 32).requires_grad_(False)
    expected = F.gelu(layer.bfloat16().float()(x.float()))
    found = steps.linear_gelu(layer.bfloat16(), x).float()
    assert found.shape == expected.shape and (found - expected).abs().max() < 1e-2


def test_the_last_projection_in_float32():
    torch.manual_seed(5)
    deconv = nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1).bfloat16().requires_grad_(False)
    last = nn.Conv2d(4, 1, 1).bfloat16().requires_grad_(False)
    last.weight.copy_(torch.tensor([1.0, -1.0, 0.5, -0.5]).view(1, 4, 1, 1))
    x = random_map(2, 6, 4, 3).bfloat16()
    found = steps.project(deconv, lambda x: x.add_(0.25), last, x)
    before = F.relu(deconv(x) + 0.25).float()
    expected = F.relu(F.conv2d(before, last.weight.float(), last.bias.float()))
    assert found.dtype == torch.float32 and 0.1 < (found > 0).double().mean() < 0.9
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def compiled(monkeypatch):
    """Compile the steps as for a GPU, but let their parts run as they are."""
    compile_ = functools.cache(functools.partial(torch.compile, backend='aot_eager'))
    monkeypatch.setattr(steps, 'fuses_on_gpu', lambda x: True)
    monkeypatch.setattr(steps, 'kernel_of', compile_)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    with torch.inference_mode():
        yield lambda: torch._dynamo.utils.counters['stats']['unique_graphs']


def test_a_norm_is_compiled_once_a_width_for_any_number_of_tokens(compiled):
    for width in (16, 32, 16):
        gamma, norm = torch.rand(width), nn.LayerNorm(width)
        for count in (70, 13, 29, 70, 35):
            x, branch = torch.rand(2, count, width), torch.rand(2, count, width)
            total, normed = steps.add_norm(x, branch, gamma, norm)
            torch.testing.assert_close(total, x + gamma * branch)
            torch.testing.assert_close(normed, norm(x + gamma * branch))
    assert 2 <= compiled() <= 4  # a width may be compiled for its first number, too


def test_maps_of_any_height_are_one_compilation(compiled):
    for _ in range(2):
        for found, expected in zip(*residual_and_expected(torch.float32), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    deconv = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
    last = nn.Conv2d(8, 1, 1)
    for height in (6, 8, 12, 20):
        x = random_map(1, 16, height, 7).float()
        expected = F.relu(last(F.relu(deconv(x) + 0.25)))
        found = steps.project(deconv, lambda x: x.add_(0.25), last, x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert 4 <= compiled() <= 5


def test_a_cpu_shares_memory_with_arrays():
    array = np.ones((3, 4), np.float32)
    transfers = Transfers(torch.device('cpu'))
    tensor = transfers.upload(array)
    assert tensor.data_ptr() == array.ctypes.data
    assert transfers.download(tensor)().ctypes.data == array.ctypes.data


@pytest.mark.gpu
@pytest.mark.parametrize('compiles', [True, False])
@pytest.mark.parametrize('config', [TINY, TINY_SHARED, TWO_SCALES, MINIATURE])
def test_a_gpu_computes_what_the_plain_network_does(config, compiles, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    if compiles:
        assert steps.can_compile()
    else:
        monkeypatch.setattr(steps, 'can_compile', lambda: False)
    network = lively_network(config).cuda()
    folded = FoldedDepthPro(network).to('cuda', memory_format=torch.channels_last)
    images = torch.rand(3, 2, 3, config.image_size, config.image_size, device='cuda') * 2 - 1
    recordings = Recordings(torch.device('cuda'))
    with torch.inference_mode():
        for image in images:
            expected = network(image)
            for need_fov, pieces in ((True, (None, None)), (False, (3, 16))):
                found = recordings.run(folded, image, need_fov, *pieces)
                scale = expected.inverse_depth.mean()
                assert (found.inverse_depth - expected.inverse_depth).abs().max() < 1e-4 * scale
                if need_fov:
                    torch.testing.assert_close(found.fov_deg, expected.fov_deg, rtol=1e-4, atol=0)
                else:
                    assert found.fov_deg is None
    assert len(recordings) == 2


@pytest.mark.gpu
def test_who_keeps_many_answers_does_not_take_all_pinned_memory(monkeypatch):
    monkeypatch.setattr(devices, 'MOST_PINNED_BYTES', 64)
    transfers = Transfers(torch.device('cuda'))
    kept = [transfers.download(torch.full((8,), float(i), device='cuda'))() for i in range(4)]
    pinned = [torch.from_numpy(array).is_pinned() for array in kept]
    assert pinned == [True, True, False, False]
    assert [array.mean() for array in kept] == [0.0, 1.0, 2.0, 3.0]
    del kept[0]
    assert torch.from_numpy(transfers.download(torch.zeros(8, device='cuda'))()).is_pinned()


@pytest.mark.gpu
def test_batches_and_single_pictures_in_turn(tiny_weights, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    estimator = DepthEstimator.from_pretrained(tiny_weights, 'cuda', 'fp32')
    rng = np.random.default_rng(1)
    rgbs = list(rng.integers(0, 256, (3, 48, 64, 3), np.uint8))
    expected = [estimator.predict(rgb).depth_m for rgb in rgbs]
    for _ in range(2):
        found = estimator.predict_batch(rgbs, [None] * 3)
        for each, depth_m in zip(found, expected, strict=True):
            np.testing.assert_allclose(each.depth_m, depth_m, rtol=1e-3)
        again = estimator.predict(rgbs[1]).depth_m
        np.testing.assert_allclose(again, expected[1], rtol=1e-3)
    assert len(estimator._recordings) == 2


def doubled(x: torch.Tensor) -> DepthProOutput:
    return DepthProOutput(x * 2, None)


@pytest.mark.gpu
@pytest.mark.parametrize('fault', ['out of memory', 'waits'])
def test_what_cannot_be_recorded_runs_as_it_is(fault, caplog):
    calls = []

    def network(x):
        calls.append(x)
        if fault == 'waits':
            return doubled(x * (x.sum().item() / x.sum().item()))  # the host has to wait for it
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError('as from torch')
        return doubled(x)

    recordings, x = Recordings(torch.device('cuda')), torch.ones(4, device='cuda')
    for factor in (1, 2, 3):
        assert recordings.run(network, x * factor).inverse_depth.tolist() == [2.0 * factor] * 4
    assert caplog.text.count('without CUDA graphs') == 1
    assert len(recordings) == 0 and len(calls) == 4
