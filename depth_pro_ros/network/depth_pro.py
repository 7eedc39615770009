"""Depth Pro: image -> canonical inverse depth and horizontal field of view."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.decoder import Decoder, DepthHead
from depth_pro_ros.network.encoder import Encoder
from depth_pro_ros.network.fov import FovHead


class DepthProOutput(NamedTuple):
    """The network's answer, in float32."""

    inverse_depth: Tensor
    """Canonical inverse depth C (B, 1, S, S), at least 0: 1/m = C * image width / f_px."""
    fov_deg: Tensor | None
    """Horizontal field of view (B,) in degrees; None where it was not asked for."""


def stretch(image: Tensor, config: DepthProConfig) -> Tensor:
    """Stretch pictures to the network's square: (B, 3, H, W) -> (B, 3, S, S), of the same dtype.

    Whoever runs or trains a network uses this, so that it learns from what it will be shown.
    """
    size = (config.image_size, config.image_size)
    return F.interpolate(
        image, size=size, mode='bilinear', align_corners=False, antialias=config.antialias
    )


class DepthPro(nn.Module):
    """The network of arXiv 2410.02073; parameter names are the official checkpoint's."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.head = DepthHead(config)
        self.fov = FovHead(config)

    def forward(self, image: Tensor, need_fov: bool = True) -> DepthProOutput:
        """Estimate depth and field of view.

        image: (B, 3, S, S) RGB in [-1, 1], S = config.image_size, stretched to a square.
        need_fov: False leaves the field-of-view head out.
        """
        encoding = self.encoder(image)
        fused, lowest = self.decoder(encoding.features)
        fov_deg = self.fov(self.fov.look(encoding), lowest) if need_fov else None
        return DepthProOutput(self.head(fused), fov_deg)
