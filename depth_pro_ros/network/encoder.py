"""The multi-scale encoder: image pyramid, overlapping tiles, one ViT pass, merge, neck."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.vit import TokenViT, tokens_to_map

FINE, MIDDLE = 5, 3
"""Tiles along one side at full and at half resolution."""


class Encoding(NamedTuple):
    """What the encoder hands on; g = tokens along a tile, S = 64 g for patches of 16."""

    features: list[Tensor]
    """Five maps, finest first: (B, D, 32g, 32g), (.., 16g), (.., 8g), (.., 4g), (.., 2g)."""
    image: Tensor
    """The quarter-size image (B, 3, T, T) that the whole-image ViT saw."""
    image_tokens: Tensor
    """Its tokens (B, 1 + g*g, C), normed."""


class Encoder(nn.Module):
    """Depth Pro's encoder (paper, section 3.1); attribute names are the official checkpoint's."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        self.config = config
        width = config.vit_width
        latent1, latent0 = config.neck_dims[1], config.neck_dims[0]
        fine, middle, coarse = config.neck_dims[2:]
        self.patch_encoder = TokenViT(config)
        self.image_encoder = None if config.share_vit else TokenViT(config)
        self.upsample_latent0 = upsampler(width, latent0, steps=3)
        self.upsample_latent1 = upsampler(width, latent1, steps=2)
        self.upsample0 = upsampler(width, fine, steps=1)
        self.upsample1 = upsampler(width, middle, steps=1)
        self.upsample2 = upsampler(width, coarse, steps=1)
        self.upsample_lowres = nn.ConvTranspose2d(width, coarse, 2, stride=2)
        self.fuse_lowres = nn.Conv2d(2 * coarse, coarse, 1)

    def forward(self, x: Tensor, tile_batch: int | None = None) -> Encoding:
        """Encode x (B, 3, S, S) in [-1, 1], at most `tile_batch` tiles at a time."""
        batch, grid = x.shape[0], self.config.grid
        half = F.interpolate(x, scale_factor=0.5, mode='bilinear', align_corners=False)
        quarter = F.interpolate(x, scale_factor=0.25, mode='bilinear', align_corners=False)
        tile = self.config.tile_size
        tiles = torch.cat([split(x, tile, FINE), split(half, tile, MIDDLE), quarter])

        tokens, taken = self.patch_encoder.in_batches(
            tiles, self.config.intermediate_blocks, tile_batch
        )
        counts = [FINE * FINE * batch, MIDDLE * MIDDLE * batch, batch]
        fine, middle, coarse = tokens_to_map(tokens, grid).split(counts)
        latent0, latent1 = (tokens_to_map(each[: counts[0]], grid) for each in taken)
        if self.image_encoder is None:
            image_tokens = tokens[-batch:]
        else:
            image_tokens, _ = self.image_encoder(quarter)

        overlap_fine, overlap_middle = grid // 8, grid // 4
        lowres = torch.cat(
            [self.upsample2(coarse), self.upsample_lowres(tokens_to_map(image_tokens, grid))], dim=1
        )
        features = [
            self.upsample_latent0(merge(latent0, FINE, overlap_fine)),
            self.upsample_latent1(merge(latent1, FINE, overlap_fine)),
            self.upsample0(merge(fine, FINE, overlap_fine)),
            self.upsample1(merge(middle, MIDDLE, overlap_middle)),
            self.fuse_lowres(lowres),
        ]
        return Encoding(features, quarter, image_tokens)


def upsampler(dim_in: int, dim_out: int, steps: int) -> nn.Sequential:
    """Give a 1x1 projection and `steps` doublings of the resolution, linear and without bias."""
    doublings = (
        nn.ConvTranspose2d(dim_out, dim_out, 2, stride=2, bias=False) for _ in range(steps)
    )
    return nn.Sequential(nn.Conv2d(dim_in, dim_out, 1, bias=False), *doublings)


def split(x: Tensor, tile: int, count: int) -> Tensor:
    """Cut overlapping tiles, tile-major: (B, 3, S, S) -> (count*count*B, 3, tile, tile)."""
    stride = (x.shape[-1] - tile) // (count - 1)
    rows = range(0, count * stride, stride)
    return torch.cat([x[..., i : i + tile, j : j + tile] for i in rows for j in rows])


def merge(maps: Tensor, count: int, overlap: int) -> Tensor:
    """Put tile maps together again, cutting `overlap` tokens at every inner edge.

    (count*count*B, C, g, g), tile-major -> (B, C, G, G) with G = count*g - 2*overlap*(count-1).
    """
    maps = maps.unflatten(0, (count, count, -1))  # (count, count, B, C, g, g)
    size = maps.shape[-1]
    inner = [
        slice(overlap if i else 0, size - overlap if i < count - 1 else size) for i in range(count)
    ]
    rows = [
        torch.cat([maps[i, j, ..., inner[i], inner[j]] for j in range(count)], dim=-1)
        for i in range(count)
    ]
    return torch.cat(rows, dim=-2)
