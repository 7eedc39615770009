"""Exact folds: chains of linear layers composed into one, by algebra on their weights.

The result computes the same function up to rounding, with fewer operations. Kernels are composed
in float64; the layers made of them keep at least float32, so that they are rounded to the
precision of the network once. docs/benchmarks.md tells what each fold saves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kernel(layer: nn.Module) -> Tensor:
    """Give the weights of a layer in float64."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight.double()


def bias(layer: nn.Module) -> Tensor:
    """Give the bias of a layer in float64."""
    assert isinstance(layer.bias, Tensor)
    return layer.bias.double()


def before(project: Tensor, weight: Tensor) -> Tensor:
    """Compose a 1x1 projection (M, I, 1, 1) with the deconvolution (M, O, k, k) that follows it."""
    return torch.einsum('mi,mokl->iokl', project[..., 0, 0], weight)


def after(weight: Tensor, project: Tensor) -> Tensor:
    """Compose a deconvolution (I, M, k, k) with the 1x1 projection (O, M, 1, 1) that follows it."""
    return torch.einsum('imkl,om->iokl', weight, project[..., 0, 0])


def after_3x3(weight: Tensor, conv: Tensor) -> Tensor:
    """Compose a 2x2 stride-2 deconvolution (I, M, 2, 2) with the 3x3 convolution after it.

    conv: (O, M, 3, 3), padded by 1. Gives the kernel (I, O, 4, 4) of a stride-2 deconvolution
    padded by 1: input pixel i reaches output 2i + a - d + 1 through tap a of the first and d of
    the second, which is tap a - d + 2 of both together.
    """
    both = weight.new_zeros(weight.shape[0], conv.shape[0], 4, 4)
    for row in range(2):
        for column in range(2):
            taps = torch.einsum('im,omkl->iokl', weight[:, :, row, column], conv.flip(2, 3))
            both[:, :, row : row + 3, column : column + 3] += taps
    return both


class Border(nn.Module):
    """What a bias before a zero-padded 3x3 convolution adds at the border of its output.

    Inside, that bias comes to one value a channel; at the border some taps see the padding.
    """

    sides: Tensor
    """(O, 3, 3): what to add at the corners and along the sides; 0 at the centre."""

    def __init__(self, sides: Tensor) -> None:
        super().__init__()
        self.register_buffer('sides', sides, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add it to x (B, O, H, W), in place; H and W at least 2."""
        above, beside, below = self.sides.unbind(1)  # (O, 3) each
        for row, values in (0, above), (-1, below):
            left, middle, right = values.split(1, dim=1)
            middle = middle.expand(-1, x.shape[-1] - 2)
            x[..., row, :] += torch.cat([left, middle, right], dim=1)
        x[..., 1:-1, 0] += beside[:, :1]
        x[..., 1:-1, -1] += beside[:, 2:]
        return x


def bias_through_3x3(constant: Tensor, conv: nn.Module) -> tuple[Tensor, Border]:
    """Carry a bias (M,) through a 3x3 convolution (O, M, 3, 3): the bias after it, its border."""
    field = constant[None, :, None, None].expand(-1, -1, 3, 3)
    answer = F.conv2d(field, kernel(conv), padding=1)[0]  # (O, 3, 3)
    centre = answer[:, 1:2, 1:2]
    return centre.flatten(), Border(parameter(answer - centre, conv))


def deconvolution(weight: Tensor, shift: Tensor | None, like: nn.Module) -> nn.ConvTranspose2d:
    """Give the stride-2 layer of a composed kernel (I, O, 2, 2) or (I, O, 4, 4) and bias (O,)."""
    dim_in, dim_out, size, _ = weight.shape
    layer = nn.ConvTranspose2d(
        *(dim_in, dim_out, size), stride=2, padding=size // 2 - 1, bias=False, device='meta'
    )
    layer.weight = parameter(weight, like)
    layer.bias = None if shift is None else parameter(shift, like)
    return layer


def convolution(weight: Tensor, shift: Tensor, like: nn.Module) -> nn.Conv2d:
    """Give the zero-padded 3x3 layer of a composed kernel (O, I, 3, 3) and bias (O,)."""
    dim_out, dim_in, size, _ = weight.shape
    layer = nn.Conv2d(dim_in, dim_out, size, padding=size // 2, device='meta')
    layer.weight, layer.bias = parameter(weight, like), parameter(shift, like)
    return layer


def parameter(tensor: Tensor, like: nn.Module) -> nn.Parameter:
    """Keep a composed tensor at the precision of a layer, or float32 if that is finer."""
    assert isinstance(like.weight, Tensor)
    dtype = torch.promote_types(like.weight.dtype, torch.float32)
    return nn.Parameter(tensor.to(dtype), requires_grad=False)
