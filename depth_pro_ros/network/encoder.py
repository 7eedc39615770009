"""The multi-scale encoder: image pyramid, overlapping tiles, one ViT pass, merge, neck."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.vit import TokenViT, tokens_to_map

UPSAMPLERS = {'upsample_latent0': 3, 'upsample_latent1': 2, 'upsample0': 1, 'upsample1': 1}
"""Those of the maps that tiles are merged to, finest level first, and their doublings; a network of
fewer scales has the first ones."""


class Encoding(NamedTuple):
    """What the encoder hands on; g = tokens along a tile."""

    features: list[Tensor]
    """`scales` + 2 maps, finest first, each half as wide: of three scales (B, D, 32g, 32g),
    (.., 16g), (.., 8g), (.., 4g), (.., 2g); of two they begin at 16g, of one at 8g."""
    image: Tensor
    """The image (B, 3, T, T) that the whole-image ViT saw, shrunk where there are tiles."""
    image_tokens: Tensor
    """Its tokens (B, 1 + g*g, C), normed."""


class Encoder(nn.Module):
    """Depth Pro's encoder (paper, section 3.1); attribute names are the official checkpoint's."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        self.config = config
        width, coarse = config.vit_width, config.neck_dims[-1]
        self.patch_encoder = TokenViT(config)
        self.image_encoder = None if config.share_vit else TokenViT(config)
        for dim, (name, steps) in zip(config.neck_dims[:-1], UPSAMPLERS.items(), strict=False):
            setattr(self, name, upsampler(width, dim, steps))
        self.upsample2 = upsampler(width, coarse, steps=1)
        self.upsample_lowres = nn.ConvTranspose2d(width, coarse, 2, stride=2)
        self.fuse_lowres = nn.Conv2d(2 * coarse, coarse, 1)

    @property
    def upsamplers(self) -> list[nn.Sequential]:
        """Those of the maps that tiles are merged to, finest level first."""
        return [getattr(self, name) for name in UPSAMPLERS if hasattr(self, name)]

    def forward(self, x: Tensor) -> Encoding:
        """Encode x (B, 3, S, S) in [-1, 1]."""
        batch, grid, tile = x.shape[0], self.config.grid, self.config.tile_size
        pyramid = [x, *(shrink(x, 2**i) for i in range(1, self.config.scales))]
        counts = self.config.tile_counts
        tiles = torch.cat([split(image, tile, n) for image, n in zip(pyramid, counts, strict=True)])

        tokens, taken = self.patch_encoder(tiles, self.config.intermediate_blocks)
        *tiled, coarse = tokens_to_map(tokens, grid).split([n * n * batch for n in counts])
        finest = counts[0] ** 2 * batch
        latent0, latent1 = (tokens_to_map(t[:finest], grid) for t in taken)
        if self.image_encoder is None:
            image_tokens = tokens[-batch:]
        else:
            image_tokens, _ = self.image_encoder(pyramid[-1])
        seen = [(latent0, counts[0]), (latent1, counts[0]), *zip(tiled, counts, strict=False)]
        features = [
            upsample(merge(maps, count))
            for upsample, (maps, count) in zip(self.upsamplers, seen, strict=True)
        ]
        features.append(self.fuse(coarse, tokens_to_map(image_tokens, grid)))
        return Encoding(features, pyramid[-1], image_tokens)

    def fuse(self, coarse: Tensor, image: Tensor) -> Tensor:
        """Join both views of the whole image: twice (B, C, g, g) -> (B, D, 2g, 2g)."""
        both = [self.upsample2(coarse), self.upsample_lowres(image)]
        return self.fuse_lowres(torch.cat(both, dim=1))


def shrink(x: Tensor, times: int) -> Tensor:
    """Make a picture `times` smaller, without a low-pass filter, as the official network does."""
    return F.interpolate(x, scale_factor=1 / times, mode='bilinear', align_corners=False)


def upsampler(dim_in: int, dim_out: int, steps: int) -> nn.Sequential:
    """Give a 1x1 projection and `steps` doublings of the resolution, linear and without bias."""
    doublings = (
        nn.ConvTranspose2d(dim_out, dim_out, 2, stride=2, bias=False) for _ in range(steps)
    )
    return nn.Sequential(nn.Conv2d(dim_in, dim_out, 1, bias=False), *doublings)


def split(x: Tensor, tile: int, count: int) -> Tensor:
    """Cut overlapping tiles, tile-major: (B, 3, S, S) -> (count*count*B, 3, tile, tile)."""
    if count == 1:
        return x
    stride = (x.shape[-1] - tile) // (count - 1)
    rows = range(0, count * stride, stride)
    return torch.cat([x[..., i : i + tile, j : j + tile] for i in rows for j in rows])


def merge(maps: Tensor, count: int) -> Tensor:
    """Put tile maps together again, cutting half of the overlap at every inner edge.

    (count*count*B, C, g, g), tile-major -> (B, C, G, G) with G = (count - 1) g; G = g of one tile.
    """
    if count == 1:
        return maps
    maps = maps.unflatten(0, (count, count, -1))  # (count, count, B, C, g, g)
    size = maps.shape[-1]
    overlap = size // (2 * (count - 1))
    inner = [
        slice(overlap if i else 0, size - overlap if i < count - 1 else size) for i in range(count)
    ]
    rows = [
        torch.cat([maps[i, j, ..., inner[i], inner[j]] for j in range(count)], dim=-1)
        for i in range(count)
    ]
    return torch.cat(rows, dim=-2)
