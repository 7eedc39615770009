"""The DPT-like decoder and the depth head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network.config import DepthProConfig


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), at one width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class Fusion(nn.Module):
    """Adds a skip feature to the coarser path and, but at the finest level, doubles its size."""

    def __init__(self, dim: int, double: bool) -> None:
        super().__init__()
        self.resnet1 = Residual(dim)
        self.resnet2 = Residual(dim)
        self.deconv = (
            nn.ConvTranspose2d(dim, dim, 2, stride=2, bias=False) if double else nn.Identity()
        )
        self.out_conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, D, h, w) and a skip of that shape -> (B, D, 2h, 2w), or (B, D, h, w) at the end."""
        if skip is not None:
            x = x + self.resnet1(skip)
        return self.out_conv(self.deconv(self.resnet2(x)))


class Decoder(nn.Module):
    """Fuses the encoder maps from coarse to fine (paper, section 3.1)."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        dim, levels = config.decoder_dim, len(config.neck_dims)
        self.convs = nn.ModuleList(
            nn.Conv2d(neck, dim, 3, padding=1, bias=False) if level else nn.Identity()
            for level, neck in enumerate(config.neck_dims)
        )
        self.fusions = nn.ModuleList(Fusion(dim, double=level > 0) for level in range(levels))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """All maps, finest first -> the fused map at the finest size and the coarsest feature."""
        lowest = self.convs[-1](features[-1])
        x = self.fusions[-1](lowest)
        for level in reversed(range(len(features) - 1)):
            x = self.fusions[level](x, self.convs[level](features[level]))
        return x, lowest


class DepthHead(nn.ModuleList):
    """Fused map (B, D, S/2, S/2) -> canonical inverse depth (B, 1, S, S), at least 0."""

    def __init__(self, config: DepthProConfig) -> None:
        dim = config.decoder_dim
        super().__init__(
            [
                nn.Conv2d(dim, dim // 2, 3, padding=1),
                nn.ConvTranspose2d(dim // 2, dim // 2, 2, stride=2),
                nn.Conv2d(dim // 2, config.head_dim, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(config.head_dim, 1, 1),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run all but the last sum in the network's precision.

        That sum is in float32: bfloat16's 8 bits there would cut depth into steps of 0.4 %.
        """
        *layers, last = self
        for layer in layers:
            x = layer(x)
        return F.relu(conv_float32(last, x))


def conv_float32(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution in float32, or finer where x is, whatever its weights are."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast('cuda' if x.is_cuda else 'cpu', enabled=False):  # as training has it on
        return F.conv2d(x.to(dtype), conv.weight.to(dtype), conv.bias.to(dtype))
