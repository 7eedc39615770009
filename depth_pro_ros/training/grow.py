"""Handing what one network has learned to another of a different size."""

import re

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from depth_pro_ros.network import DepthPro


@torch.no_grad()
def take_over(network: DepthPro, source: DepthPro) -> list[str]:
    """Copy into `network` every tensor of `source` that has a place there; name what had none.

    Of decoder levels the finest three and the coarsest meet, whatever their number. Position
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
