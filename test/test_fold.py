"""The folded network against the one it is made from, which stays the reference."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from networks import MINIATURE, TINY, TINY_SHARED, TWO_SCALES, lively_network

from depth_pro_ros.network import DepthProConfig, fold
from depth_pro_ros.network.config import TILES
from depth_pro_ros.network.encoder import merge, split
from depth_pro_ros.network.folded import FoldedDepthPro
from depth_pro_ros.network.tiled_vit import tile_patches

PIECES = [(None, None), (4, 40), (1, 22)]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Give the largest difference over the mean."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().mean())


@pytest.mark.parametrize('size', [(2, 2), (5, 7)])
def test_a_deconvolution_and_a_3x3_convolution_in_one(size):
    x, first, second = random(1, 3, *size), random(3, 4, 2, 2), random(5, 4, 3, 3)
    expected = F.conv2d(F.conv_transpose2d(x, first, stride=2), second, padding=1)
    found = F.conv_transpose2d(x, fold.after_3x3(first, second), stride=2, padding=1)
    torch.testing.assert_close(found, expected)


def test_a_projection_before_and_after_a_deconvolution():
    x, deconv = random(1, 3, 5, 4), random(4, 6, 2, 2)
    first, last = random(4, 3, 1, 1), random(2, 6, 1, 1)
    expected = F.conv2d(F.conv_transpose2d(F.conv2d(x, first), deconv, stride=2), last)
    weight = fold.after(fold.before(first, deconv), last)
    torch.testing.assert_close(F.conv_transpose2d(x, weight, stride=2), expected)


@pytest.mark.parametrize('size', [(2, 2), (2, 9), (6, 5)])
def test_a_bias_sees_the_padding_of_the_convolution_after_it(size):
    conv = torch.nn.Conv2d(3, 4, 3, padding=1).double()
    x, constant = random(2, 3, *size), random(3)
    expected = conv(x + constant[:, None, None])
    bias, border = fold.bias_through_3x3(constant, conv)
    found = border(conv(x) + bias[:, None, None])
    torch.testing.assert_close(found, expected)
    if size == (6, 5):
        assert difference(conv(x) + bias[:, None, None], expected) > 0.1  # the border is needed


@pytest.mark.parametrize('count', sorted(TILES.values()))
def test_tiles_of_patches_are_those_of_the_encoder(count):
    grid = 8
    side = max(1, count - 1) * grid
    picture = torch.arange(side * side).reshape(1, 1, side, side)
    tiles = split(picture, grid, count).flatten(1)
    patches, kept = tile_patches(count, grid)
    assert torch.equal(patches, tiles)
    assert torch.equal(patches[kept].sort().values, picture.flatten())
    marked = torch.where(kept, tiles, -1).reshape(-1, 1, grid, grid)
    assert torch.equal(merge(marked, count), picture)


@pytest.mark.parametrize(
    ('config', 'pieces'),
    [
        *((config, pieces) for config in (TINY, TINY_SHARED) for pieces in PIECES),
        (TWO_SCALES, PIECES[1]),
        (MINIATURE, PIECES[2]),
        (dataclasses.replace(MINIATURE, share_vit=False), PIECES[1]),
        (DepthProConfig.small(), (None, 96)),
    ],
)
def test_folding_changes_nothing_but_rounding(config, pieces):
    network = lively_network(config).double()
    size = config.image_size
    image = random(2, 3, size, size).tanh()
    expected = network(image)
    assert expected.inverse_depth.std() > 0.25 * expected.inverse_depth.mean()
    folded = FoldedDepthPro(network).requires_grad_(False)
    found = folded(image, True, *pieces)
    assert difference(found.inverse_depth, expected.inverse_depth) < 1e-10
    assert difference(found.fov_deg, expected.fov_deg) < 1e-10
    assert folded(image, need_fov=False).fov_deg is None


@pytest.mark.parametrize(('config', 'pieces'), [(TINY, PIECES[0]), (TINY_SHARED, PIECES[1])])
def test_a_compiler_sees_one_graph(config, pieces):
    torch.compiler.reset()
    folded = FoldedDepthPro(lively_network(config)).requires_grad_(False)
    image = random(1, 3, 256, 256).tanh().float()
    expected = folded(image, True, *pieces)
    folded.compile(fullgraph=True, dynamic=False, backend='eager')  # raises at a break
    found = folded(image, True, *pieces)
    assert difference(found.inverse_depth, expected.inverse_depth) < 1e-5
    assert difference(found.fov_deg, expected.fov_deg) < 1e-5
    assert folded(image, False, *pieces).fov_deg is None


def test_half_precision_is_rounded_once():
    network = lively_network(TINY).half()
    folded = FoldedDepthPro(network)
    assert folded.lowest.weight.dtype == torch.float32
    assert folded.patch_vit.vit.norm.weight.data_ptr() == (
        network.encoder.patch_encoder.norm.weight.data_ptr()  # the big weights are not copied
    )


@pytest.mark.official_size
def test_folding_at_the_official_size():
    network = lively_network(DepthProConfig.large())
    image = random(1, 3, 1536, 1536).tanh().float()
    with torch.inference_mode():
        expected = network(image)
        found = FoldedDepthPro(network)(image, True, 4, 96)
    depth = difference(found.inverse_depth, expected.inverse_depth)
    fov = difference(found.fov_deg, expected.fov_deg)
    print(f'depth {depth:.2e}, field of view {fov:.2e}')
    assert depth < 1e-5 and fov < 1e-5
