"""Coarse-to-fine training of Depth Pro: the whole image first, then everything.

The whole image is one tile of ten (or of 35), so its path learns room shape, scale and field of
view at many images a second, before the fine tiles are worth their price.
"""

from typing import Any

import torch
from torch import Tensor, nn

from depth_pro_ros.network import DepthPro, DepthProConfig, DepthProOutput
from depth_pro_ros.network.encoder import Encoding, shrink
from depth_pro_ros.network.vit import tokens_to_map


def output_px(config: DepthProConfig, whole_image: bool) -> int:
    """Side of the inverse depth that comes out."""
    return config.grid * (8 if whole_image else 8 << config.scales)


def forward_whole_image(network: DepthPro, image: Tensor) -> DepthProOutput:
    """Answer from the shrunk image alone; image: (B, 3, S, S), the network's usual input.

    Only the coarsest fusion, the finest and the head work, at a lower resolution than in the end;
    with `start_as_upsampling` the levels put between later change the answer little at first.
    """
    encoder, decoder = network.encoder, network.decoder
    small = shrink(image, 2 ** (network.config.scales - 1))
    tokens, _ = encoder.patch_encoder(small)
    coarse = tokens_to_map(tokens, network.config.grid)
    lowest = decoder.convs[-1](encoder.fuse(coarse, coarse))
    fov_deg = network.fov(network.fov.look(Encoding([], small, tokens)), lowest)
    fused = decoder.fusions[0](decoder.fusions[-1](lowest))
    return DepthProOutput(network.head(fused), fov_deg)


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
    for conv in network.decoder.convs[1:-1]:
        conv.weight.mul_(0.1)  # levels that join later whisper first
    network.encoder.upsample_latent0[-1].weight.mul_(0.1)
    network.head[-1].bias.fill_(mean_inverse_depth)
    network.fov.head[-1].weight.mul_(10)
    network.fov.head[-1].bias.fill_(mean_fov_deg)
