"""Random weights whose answer varies over the picture: speed and exactness without a download."""

from __future__ import annotations

import torch

from depth_pro_ros.network import DepthPro, DepthProConfig


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
    last, last_fov = network.head[-1], network.fov.head[-1]
    assert isinstance(last, torch.nn.Conv2d) and isinstance(last_fov, torch.nn.Conv2d)
    assert last.bias is not None and last_fov.bias is not None
    probe = torch.rand(1, 3, config.image_size, config.image_size) * 2 - 1
    last.bias.fill_(100.0)  # keeps the probe out of the ReLU
    output = network(probe)
    raw = output.inverse_depth - 100.0
    gain = 0.2 / raw.std()
    last.weight *= gain
    last.bias.fill_(float(0.25 - gain * raw.mean()))
    last_fov.bias.fill_(60.0 - float(output.fov_deg))
    return network
