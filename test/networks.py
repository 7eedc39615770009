"""Networks for tests: tiny ones."""

from __future__ import annotations

import dataclasses

from depth_pro_ros.bench.lively import lively_network
from depth_pro_ros.network import DepthProConfig

__all__ = ['MINIATURE', 'REDUCED', 'TINY', 'TINY_SHARED', 'TWO_SCALES', 'lively_network']

TINY = DepthProConfig(
    tile_size=64,
    patch_size=8,
    vit_width=32,
    vit_depth=4,
    vit_heads=2,
    intermediate_blocks=(0, 1),
    neck_dims=(16, 16, 24, 32, 32),
    decoder_dim=16,
)
"""A Depth Pro with three ViTs of its own and a 256 x 256 input."""

MINIATURE = DepthProConfig(
    tile_size=128,
    scales=1,
    vit_width=96,
    vit_depth=3,
    vit_heads=3,
    intermediate_blocks=(0, 1),
    share_vit=True,
    neck_dims=(24, 24, 32),
    decoder_dim=24,
    head_dim=8,
    antialias=True,
)
"""The small network in miniature, with a 128 x 128 input: it learns something within seconds."""

TINY_SHARED = dataclasses.replace(TINY, share_vit=True, antialias=True, head_dim=16)

TWO_SCALES = dataclasses.replace(TINY_SHARED, scales=2, neck_dims=(16, 16, 24, 32))

REDUCED = DepthProConfig(
    tile_size=128,
    vit_width=64,
    vit_depth=6,
    vit_heads=4,
    intermediate_blocks=(1, 3),
    neck_dims=(32, 32, 48, 64, 64),
    decoder_dim=32,
)
"""An official network made small: patches of 16, three ViTs, which transformers can be too."""
