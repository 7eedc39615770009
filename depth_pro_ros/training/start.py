"""What a network is before training: nothing, DINOv2, or what another one has learned."""

import dataclasses
import re
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import load_network
from depth_pro_ros.network.weights import find_weights
from depth_pro_ros.training.dinov2 import check_fits, load_backbone

MEAN_C, MEAN_FOV_DEG = 0.38, 64.0


def start_network(init: str, preset: str | None = None, tile_size: int | None = None) -> DepthPro:
    """Give the network that training begins with.

    init: `dinov2` (its first blocks), `none` (random), or weights by name or file, handed over to
    a network of the preset; without a preset the weights' own network, or `small`.
    """
    source = None if init in ('dinov2', 'none') else load_network(find_weights(init)).float()
    if source and not preset and tile_size in (None, source.config.tile_size):
        return source
    config = source.config if source and not preset else DepthProConfig.preset(preset or 'small')
    config = dataclasses.replace(config, tile_size=tile_size or config.tile_size)
    if init == 'dinov2':
        check_fits(config)
    network = DepthPro(config)
    start_as_upsampling(network, MEAN_C, MEAN_FOV_DEG)
    if source and any(
        name.startswith('encoder.patch_encoder') for name in take_over(network, source)
    ):
        raise ValueError(f'{init} is a network of another width or depth: leave --preset out')
    if init == 'dinov2':
        load_backbone(network)
    return network


@torch.no_grad()
def take_over(network: DepthPro, source: DepthPro) -> list[str]:
    """Copy into `network` every tensor of `source` that has a place there; name what had none.

    Of decoder levels the coarsest meet, and the others from the finest on. Position
    embeddings are resampled to the new grid, and the kernel that sums up the field of view is
    stretched over it.
    """
    theirs = {_level_from_its_end(n, source): t.float() for n, t in source.state_dict().items()}
    fresh = []
    for name, tensor in network.state_dict().items():
        value = theirs.get(_level_from_its_end(name, network))
        if value is not None and value.shape != tensor.shape:
            value = _resize(name, value, network)
        if value is None or value.shape != tensor.shape:
            fresh.append(name)
        else:
            tensor.copy_(value)
    return fresh


def _level_from_its_end(name: str, network: DepthPro) -> str:
    """Name the decoder's coarsest level alike in every network: decoder.convs.4 -> convs.last."""
    last = len(network.config.neck_dims) - 1
    return re.sub(rf'^(decoder\.\w+)\.{last}\.', r'\1.last.', name)


def _resize(name: str, value: Tensor, network: DepthPro) -> Tensor:
    grid = network.config.grid
    if name.endswith('pos_embed'):
        return resample_abs_pos_embed(value, [grid, grid])
    if name == f'fov.head.{len(network.fov.head) - 1}.weight':
        side = grid // 4
        stretched = F.interpolate(value, size=(side, side), mode='bilinear', align_corners=False)
        return stretched * value.shape[-1] ** 2 / side**2
    return value


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
        conv.weight.mul_(0.1)  # finer levels whisper first
    network.encoder.upsample_latent0[-1].weight.mul_(0.1)
    network.head[-1].bias.fill_(mean_inverse_depth)
    network.fov.head[-1].weight.mul_(10)
    network.fov.head[-1].bias.fill_(mean_fov_deg)
