"""The estimator: the metric step, sizes, devices, precisions, memory."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import TINY_SHARED, lively_network

from depth_pro_ros import devices as module
from depth_pro_ros.estimator import DepthEstimator, OutOfMemoryError, metric_depth
from depth_pro_ros.network import pieces as pieces_module
from depth_pro_ros.network.pieces import LEAST_ROWS, Pieces


@pytest.fixture(scope='module')
def estimator() -> DepthEstimator:
    return DepthEstimator(lively_network(TINY_SHARED), torch.device('cpu'), torch.float32)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_metric_step_of_the_paper():
    canonical = torch.tensor([[[[0.5, 0.25], [0.0, 2.0]]]])
    depth = metric_depth(canonical, focal_px=400.0, width=2, height=2)
    # inverse = C * W / f = C / 200
    torch.testing.assert_close(depth, torch.tensor([[400.0, 800.0], [math.inf, 100.0]]))


def test_inverse_depth_is_resized_not_depth():
    canonical = torch.tensor([[[[1.0, 3.0]] * 2]])
    depth = metric_depth(canonical, focal_px=4.0, width=4, height=2)
    # at -1/4, 1/4, 3/4 and 5/4 of the way between the centres of the two
    torch.testing.assert_close(depth[0], 1.0 / torch.tensor([1.0, 1.5, 2.5, 3.0]))


def test_extremes_of_inverse_depth():
    canonical = torch.tensor([[[[1e-5, 2e-4], [1e9, 1.0]]]])
    depth = metric_depth(canonical, focal_px=2.0, width=2, height=2)
    torch.testing.assert_close(depth, torch.tensor([[math.inf, 5000.0], [1e-4, 1.0]]))


@pytest.mark.parametrize(
    ('width', 'height'),
    [(16, 16), (17, 16), (641, 479), (8192, 16), (16, 8192), (256, 256), (7680, 4320)],
)
def test_sizes(estimator, width, height):
    prediction = estimator.predict(noise(width, height))
    assert prediction.depth_m.shape == (height, width)
    assert prediction.depth_m.dtype == np.float32
    assert not np.isnan(prediction.depth_m).any() and (prediction.depth_m > 0).all()
    expected = width / 2 / math.tan(math.radians(prediction.fov_deg) / 2)
    assert prediction.focal_is_estimated
    assert math.isclose(prediction.focal_px, expected, rel_tol=1e-9)


def test_a_known_focal_length_only_scales(estimator):
    rgb = noise(96, 64)
    estimated = estimator.predict(rgb)
    given = estimator.predict(rgb, focal_px=2 * estimated.focal_px)
    finite = np.isfinite(given.depth_m) & (estimated.depth_m > 1e-3)
    np.testing.assert_allclose(given.depth_m[finite], 2 * estimated.depth_m[finite], rtol=1e-5)
    assert not given.focal_is_estimated and given.focal_px == 2 * estimated.focal_px


def test_views_and_read_only_pictures_are_read(estimator):
    rgb = noise(96, 64)
    frozen = rgb.copy()
    frozen.flags.writeable = False
    expected = estimator.predict(rgb).depth_m
    np.testing.assert_array_equal(estimator.predict(frozen).depth_m, expected)
    np.testing.assert_array_equal(estimator.predict(rgb[:, ::-1][:, ::-1]).depth_m, expected)


@pytest.mark.parametrize(
    ('rgb', 'message'),
    [
        (np.zeros((64, 64), np.uint8), 'expected an'),
        (np.zeros((64, 64, 4), np.uint8), 'expected an'),
        (np.zeros((64, 64, 3), np.float32), 'expected an'),
        (np.zeros((15, 64, 3), np.uint8), '64x15 is outside'),
        (np.zeros((16, 8193, 3), np.uint8), '8193x16 is outside'),
        (np.zeros((0, 0, 3), np.uint8), '0x0 is outside'),
    ],
)
def test_what_is_no_picture_is_refused(estimator, rgb, message):
    with pytest.raises(ValueError, match=message):
        estimator.predict(rgb)


@pytest.mark.parametrize('focal_px', [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_focal_length_is_refused(estimator, focal_px):
    with pytest.raises(ValueError, match='must be positive and finite'):
        estimator.predict(noise(32, 32), focal_px)


@pytest.mark.parametrize(('answer', 'fov_deg'), [(-1000.0, 1.0), (1000.0, 170.0)])
def test_a_wild_field_of_view_stays_a_camera(answer, fov_deg):
    network = lively_network(TINY_SHARED)
    network.fov.head[-1].bias.fill_(answer)
    prediction = DepthEstimator(network, torch.device('cpu'), torch.float32).predict(noise(32, 32))
    assert prediction.fov_deg == pytest.approx(fov_deg)
    assert np.isfinite(prediction.focal_px)


@pytest.mark.parametrize(('part', 'focal_px'), [('head', None), ('head', 50.0), ('fov.head', None)])
def test_an_answer_that_is_not_finite_is_an_error(part, focal_px):
    network = lively_network(TINY_SHARED)
    [*network.get_submodule(part).parameters()][-1].fill_(math.nan)  # a bias
    broken = DepthEstimator(network, torch.device('cpu'), torch.float32)
    with pytest.raises(ArithmeticError, match='not finite in fp32'):
        broken.predict(noise(32, 32), focal_px)


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_precisions_agree(tiny_weights, precision):
    rgb = noise(256, 256)
    exact = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32').predict(rgb, 200.0)
    other = DepthEstimator.from_pretrained(tiny_weights, 'cpu', precision).predict(rgb, 200.0)
    inverse, expected = 1 / other.depth_m, 1 / exact.depth_m
    assert np.median(np.abs(inverse - expected)) < 0.02 * expected.mean()


def test_automatic_choices_are_stated_in_the_log(tiny_weights, caplog, monkeypatch):
    with caplog.at_level(logging.INFO, 'depth_pro_ros.estimator'):
        monkeypatch.setattr(module, 'cpu_prefers_bf16', lambda: True)
        assert DepthEstimator.from_pretrained(tiny_weights, 'cpu').precision == 'bf16'
        monkeypatch.setattr(module, 'cpu_prefers_bf16', lambda: False)
        assert DepthEstimator.from_pretrained(tiny_weights, 'cpu').precision == 'fp32'
    assert 'tiny.safetensors on cpu' in caplog.text
    assert 'in bf16' in caplog.text and 'in fp32' in caplog.text
    assert module.choose_precision('auto', torch.device('cuda')) == torch.float16


@pytest.mark.parametrize(
    ('flags', 'bf16_seconds', 'prefers'),
    [
        ('avx2', 1.0, False),
        ('avx512_bf16', 1.0, True),
        ('avx512_bf16', 4.0, False),  # as on Intel's, where AMX is missing
        ('avx512_bf16 amx_bf16', 4.0, True),
    ],
)
def test_bf16_is_chosen_where_it_is_faster(flags, bf16_seconds, prefers, monkeypatch):
    seconds = {torch.bfloat16: bf16_seconds, torch.float32: 2.0}
    monkeypatch.setattr(module, '_product_seconds', seconds.__getitem__)
    monkeypatch.setattr(module.Path, 'read_text', lambda path: f'flags : fpu {flags}')
    assert module.cpu_prefers_bf16.__wrapped__() is prefers


def test_kept_memory_is_not_faulted_in_again():
    code = """
import resource, sys, torch
from depth_pro_ros import devices
if sys.argv[1] == 'keep':
    devices.keep_memory()
layer = torch.nn.Conv2d(16, 16, 1)
def step():
    layer(torch.ones(8, 16, 320, 320)).relu().square().mean().backward()  # maps of 52 MB
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.run([sys.executable, '-c', code, how], capture_output=True).stdout)
        for how in ('keep', 'plain')
    ]
    assert faults[0] < 0.6 * faults[1]


@pytest.mark.parametrize('device', ['tpu', 'meta', 'cuda:99', 'cpu:x'])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ValueError, match=f"device '{device}'"):
        module.choose_device(device)


class SmallDevice(torch.nn.Module):
    """A network on a device that holds `limit` tiles at a time."""

    def __init__(self, network, limit: int) -> None:
        super().__init__()
        self.network, self.limit = network, limit
        self.tried: list[tuple[int | None, int | None]] = []

    def forward(self, image, need_fov, tile_batch, strip_rows):
        self.tried.append((tile_batch, strip_rows))
        if (tile_batch or 35) > self.limit:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return self.network(image, need_fov, tile_batch, strip_rows)


def on_small_device(limit: int) -> tuple[DepthEstimator, SmallDevice]:
    small = DepthEstimator(lively_network(TINY_SHARED), torch.device('cpu'), torch.float32)
    small.pieces = Pieces()
    small.network = SmallDevice(small.network, limit)
    return small, small.network


def test_out_of_memory_makes_tile_batches_smaller_and_keeps_them(estimator):
    small, device = on_small_device(limit=5)
    rgb = noise(64, 64)
    np.testing.assert_allclose(
        small.predict(rgb, 50.0).depth_m, estimator.predict(rgb, 50.0).depth_m, rtol=1e-4
    )
    assert device.tried == [(None, None), (17, 64), (8, 32), (4, 16)]
    small.predict(rgb)
    assert device.tried[4:] == [(4, 16)]


def test_out_of_memory_with_one_tile_is_an_error_that_says_what_to_do():
    small, device = on_small_device(limit=0)
    with pytest.raises(OutOfMemoryError, match="choose weights 'small' or device 'cpu'"):
        small.predict(noise(64, 64))
    assert device.tried[-1] == (1, LEAST_ROWS)


def test_a_batch_gives_what_each_picture_gives_alone(estimator):
    rgbs, focals_px = [noise(96, 64), noise(64, 64), noise(40, 80)[::-1]], [50.0, None, None]
    for focals in (focals_px, [50.0] * 3):
        batch = estimator.predict_batch(rgbs, focals)
        for rgb, focal_px, together in zip(rgbs, focals, batch):
            alone = estimator.predict(rgb, focal_px)
            np.testing.assert_allclose(together.depth_m, alone.depth_m, rtol=1e-4)
            assert math.isclose(together.focal_px, alone.focal_px, rel_tol=1e-5)
            assert together.focal_is_estimated == (focal_px is None)
    assert estimator.predict_batch(rgbs, [50.0] * 3)[0].estimated_focal_px is None


@pytest.mark.parametrize('memory', ['auto', 'low'])
def test_memory_changes_nothing_else(tiny_weights, memory, monkeypatch):
    monkeypatch.setattr(pieces_module, 'PIECE_BYTES', 200_000)
    rgb = noise(96, 64)
    given = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32', memory).predict(rgb)
    whole = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32')
    assert 1 < whole.pieces.tile_batch < 35 and 16 <= whole.pieces.strip_rows < 64
    whole.pieces = Pieces()
    np.testing.assert_allclose(given.depth_m, whole.predict(rgb).depth_m, rtol=1e-4)


def test_one_core_is_left_however_often_the_network_is_loaded(monkeypatch):
    chosen = []
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(module, 'THREADS', 8)
    monkeypatch.setattr(torch, 'set_num_threads', chosen.append)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: [8, *chosen][-1])
    module.leave_a_core()
    module.leave_a_core()
    assert chosen == [7, 7]
    monkeypatch.setattr(module, 'THREADS', 2)
    module.leave_a_core()
    monkeypatch.setattr(module, 'THREADS', 8)
    monkeypatch.setenv('OMP_NUM_THREADS', '8')
    module.leave_a_core()
    assert chosen == [7, 7]


def test_unknown_memory_is_refused():
    with pytest.raises(ValueError, match="no memory 'tiny': use auto or low"):
        DepthEstimator.from_pretrained('small', 'cpu', memory='tiny')


def test_an_answer_is_the_callers_own(estimator):
    first = estimator.predict(noise(96, 64))
    kept = first.depth_m.copy()
    estimator.predict(255 - noise(96, 64)).depth_m.fill(1.0)
    np.testing.assert_array_equal(first.depth_m, kept)


def test_memory_of_recordings_is_given_up_before_a_picture(estimator, monkeypatch):
    class Recorded(dict):
        def stop(self, reason):
            self.clear()

    predict, kept = DepthEstimator._predict, Recorded(a_graph=1)

    def short_of_memory(self, *arguments):
        if kept:
            raise torch.cuda.OutOfMemoryError('as from torch')
        return predict(self, *arguments)

    monkeypatch.setattr(DepthEstimator, '_predict', short_of_memory)
    monkeypatch.setattr(estimator, '_recordings', kept)
    assert np.isfinite(estimator.predict(noise(96, 64)).depth_m).any() and not kept


@pytest.mark.gpu
def test_a_gpu_needs_no_more_memory_after_the_first_picture(tiny_weights):
    estimator, rgb = DepthEstimator.from_pretrained(tiny_weights, 'cuda'), noise(640, 480)
    estimator.warm_up()  # records the network
    first = estimator.predict(rgb)
    kept, reserved = first.depth_m.copy(), torch.cuda.memory_reserved()
    for _ in range(5):
        estimator.predict(255 - rgb)
    assert torch.cuda.memory_reserved() == reserved
    np.testing.assert_array_equal(first.depth_m, kept)


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_only_beside_a_gpu_there_is_time_for_something_else(tiny_weights, device):
    estimator, called = DepthEstimator.from_pretrained(tiny_weights, device), []
    for _ in range(3):
        called.clear()
        estimator.predict(noise(96, 64), 200.0, on_wait=lambda: called.append(1))
        assert len(called) == (device == 'cuda')


@pytest.mark.gpu
def test_gpu_agrees_with_the_cpu(tiny_weights):
    rgb = noise(256, 256)
    exact = DepthEstimator.from_pretrained(tiny_weights, 'cpu', 'fp32').predict(rgb, 200.0)
    gpu = DepthEstimator.from_pretrained(tiny_weights)
    assert gpu.precision == 'fp16'
    inverse, expected = 1 / gpu.predict(rgb, 200.0).depth_m, 1 / exact.depth_m
    assert np.median(np.abs(inverse - expected)) < 5e-3 * expected.mean()


def test_fp32_on_a_gpu_is_exact(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', True)
    # a module that pytest cannot set back
    matmul = SimpleNamespace(allow_tf32=True)
    monkeypatch.setattr(torch.backends.cuda, 'matmul', matmul)
    module.keep_exact(torch.device('cuda'), torch.float16)
    module.keep_exact(torch.device('cpu'), torch.float32)
    assert torch.backends.cudnn.allow_tf32 and matmul.allow_tf32
    module.keep_exact(torch.device('cuda:1'), torch.float32)
    assert not torch.backends.cudnn.allow_tf32 and not matmul.allow_tf32
