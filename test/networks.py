"""Networks for tests: tiny ones, and random weights whose answer varies over the picture."""

from __future__ import annotations

import dataclasses

import torch

from depth_pro_ros.network import DepthPro, DepthProConfig

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

TINY_SHARED = dataclasses.replace(TINY, share_vit=True, antialias=True, head_dim=16)


def lively_network(config: DepthProConfig, seed: int = 0) -> DepthPro:
    """Give a network with random weights whose inverse depth varies strongly over a picture.

    Default initialisation gives an almost constant map, on which a comparison proves nothing:
    here every layer keeps the variance of its input, LayerScale lets the blocks through, and the
    last layers are set so that about a tenth of the pixels end in the ReLU.
    """
    torch.manual_seed(seed)
    network = DepthPro(config).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            weight = module.weight
            transposed = isinstance(module, torch.nn.ConvTranspose2d)
            fan_in = weight.shape[0] if transposed else weight[0].numel()
            weight.normal_(0.0, fan_in**-0.5)
            if module.bias is not None:
                module.bias.normal_(0.0, 0.1)
    for name, parameter in network.named_parameters():
        if name.endswith('gamma'):
            parameter.fill_(0.3)
        elif name.endswith('pos_embed'):
            parameter.normal_(0.0, 0.3)
    last = network.head[-1]
    probe = torch.rand(1, 3, config.image_size, config.image_size) * 2 - 1
    last.bias.fill_(100.0)  # keeps the probe out of the ReLU
    output = network(probe)
    raw = output.inverse_depth - 100.0
    gain = 0.2 / raw.std()
    last.weight *= gain
    last.bias.fill_(float(0.25 - gain * raw.mean()))
    network.fov.head[-1].bias.fill_(60.0 - float(output.fov_deg))
    return network
