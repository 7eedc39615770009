"""Coarse-to-fine training of Depth Pro: the whole image, then middle tiles, then everything.

One tile costs a thirty-fifth of the network, so the global path learns room shape, scale and
field of view at many images a second, before the fine tiles are worth their price.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network import DepthPro, DepthProOutput
from depth_pro_ros.network.encoder import MIDDLE, Encoding, merge, split
from depth_pro_ros.network.vit import tokens_to_map

GLOBAL, MIDDLE_TILES, FULL = 1, 2, 5
"""How many of the decoder's five levels, coarse to fine, take part."""


def output_px(network: DepthPro, levels: int) -> int:
    """Side of the inverse depth that `forward_levels` returns."""
    return 64 * network.config.grid >> {GLOBAL: 3, MIDDLE_TILES: 2, FULL: 0}[levels]


def forward_levels(network: DepthPro, image: Tensor, levels: int) -> DepthProOutput:
    """Run the coarsest `levels` of the network on its usual input (B, 3, S, S).

    The finest fusion and the head then work at a lower resolution than they will in the end;
    with `start_as_upsampling` the levels put between later change the answer little at first.
    """
    if levels == FULL:
        return network(image)
    encoder, decoder, grid = network.encoder, network.decoder, network.config.grid
    quarter = F.interpolate(image, scale_factor=0.25, mode='bilinear', align_corners=False)
    tiles = [quarter]
    if levels == MIDDLE_TILES:
        half = F.interpolate(image, scale_factor=0.5, mode='bilinear', align_corners=False)
        tiles.insert(0, split(half, network.config.tile_size, MIDDLE))
    tokens, _ = encoder.patch_encoder(torch.cat(tiles))
    image_tokens = tokens[-len(image) :]
    coarse = tokens_to_map(image_tokens, grid)
    both = [encoder.upsample2(coarse), encoder.upsample_lowres(coarse)]
    lowest = decoder.convs[4](encoder.fuse_lowres(torch.cat(both, dim=1)))
    x = decoder.fusions[4](lowest)
    if levels == MIDDLE_TILES:
        middle = tokens_to_map(tokens[: -len(image)], grid)
        middle = encoder.upsample1(merge(middle, MIDDLE, grid // 4))
        x = decoder.fusions[3](x, decoder.convs[3](middle))
    fov_deg = network.fov(Encoding([], quarter, image_tokens), lowest)
    return DepthProOutput(network.head(decoder.fusions[0](x)), fov_deg)


@torch.no_grad()
def start_as_upsampling(network: Any, mean_inverse_depth: float, mean_fov_deg: float) -> None:
    """Initialise so that fusions pass on and upsample, and the heads answer the given means."""
    for fusion in network.decoder.fusions:
        if isinstance(fusion.deconv, nn.ConvTranspose2d):
            eye = torch.eye(fusion.deconv.in_channels)
            fusion.deconv.weight.copy_(eye[..., None, None].expand_as(fusion.deconv.weight))
        fusion.out_conv.weight.copy_(torch.eye(fusion.out_conv.in_channels)[..., None, None])
        fusion.out_conv.bias.zero_()
        for residual in (fusion.resnet1, fusion.resnet2):
            residual.residual[-1].weight.mul_(0.1)
            residual.residual[-1].bias.zero_()
    for conv in network.decoder.convs[1:4]:
        conv.weight.mul_(0.1)  # levels that join later whisper first
    network.encoder.upsample_latent0[-1].weight.mul_(0.1)
    network.head[-1].bias.fill_(mean_inverse_depth)
    network.fov.head[-1].weight.mul_(10)
    network.fov.head[-1].bias.fill_(mean_fov_deg)
