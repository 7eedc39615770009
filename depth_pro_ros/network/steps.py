"""What stands between the products: sums, norms and ReLUs, on a GPU each chain as one kernel.

A GPU does such a step as fast as it moves the maps, so that a chain in one pass costs a fraction.
torch.compile makes those kernels; the products stay with the libraries for them. On a CPU in bf16
oneDNN does some steps within the product. Elsewhere the functions run as they are written.
"""

from __future__ import annotations

import functools
import logging
import platform
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network.decoder import conv_float32

logger = logging.getLogger(__name__)

ONEDNN = torch.ops.mkldnn
SAME = (1, 1), (1, 1), (1, 1), 1
"""Padding, stride, dilation and groups of a 3x3 convolution that keeps the size."""
OPTIONS: dict[str, Any] = {'compile_threads': 1}
"""Of the compiler: without processes beside, which would stay."""


@functools.cache
def has_onednn_bf16() -> bool:
    """Tell whether oneDNN's own arithmetic is there in bf16; on ARM it hands over to another's."""
    return (
        platform.machine() == 'x86_64'
        and torch.backends.mkldnn.is_available()
        and bool(ONEDNN._is_mkldnn_bf16_supported())
    )


def fuses_on_cpu(x: Tensor) -> bool:
    """Tell whether oneDNN does within a product what follows it."""
    return (
        x.dtype == torch.bfloat16
        and x.device.type == 'cpu'
        and not torch.compiler.is_compiling()
        and has_onednn_bf16()
    )


def fuses_on_gpu(x: Tensor) -> bool:
    """Tell whether steps are kernels of their own."""
    return x.is_cuda and not torch.compiler.is_compiling() and can_compile()


@functools.cache
def can_compile() -> bool:
    """Tell whether torch makes kernels for the GPU here, which takes Triton and a C compiler.

    Raises torch.cuda.OutOfMemoryError, which says nothing of that.
    """
    try:
        torch.compile(torch.neg, options=OPTIONS)(torch.zeros(16, device='cuda'))
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        cause = getattr(error, 'inner_exception', error)
        reason = f'{type(cause).__name__}: {cause}'.strip().partition('\n')[0]
        logger.warning(
            'the network runs without kernels of its own, and so slower: %s; they take Triton, a C '
            'compiler and the headers of Python (apt install gcc python3-dev)',
            reason,
        )
        return False
    return True


@functools.cache
def kernel_of(step: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a step, once; torch itself does that when it is called first."""
    return torch.compile(step, options=OPTIONS)


def fused(step: Callable[..., Any]) -> Callable[..., Any]:
    """Let a step on rows (N, C) be one kernel, for any N, where it is on a GPU."""

    def run(x: Tensor, *others: Any) -> Any:
        if not fuses_on_gpu(x):
            return step(x, *others)
        torch._dynamo.mark_static(x, 1)  # networks differ in C, and each is to have good kernels
        return kernel_of(step)(x, *others)

    return run


@fused
def _add_norm(
    x: Tensor, branch: Tensor, gamma: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    x = torch.addcmul(x, branch, gamma)
    return x, F.layer_norm(x, x.shape[-1:], weight, bias, eps)


@fused
def _bias_relu(x: Tensor, bias: Tensor) -> Tensor:
    return x.add_(bias).relu_()


@fused
def _add(branch: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return branch + bias + x


@fused
def _add_both(branch: Tensor, bias: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return branch + bias + x + other


@fused
def _project(x: Tensor, bias: Tensor, weight: Tensor, last_bias: Tensor) -> Tensor:
    x = (x + bias).relu().to(torch.float32)  # C in float32, as of `DepthHead`
    return F.relu((x * weight.to(torch.float32)).sum(dim=1) + last_bias.to(torch.float32))


def add_norm(x: Tensor, branch: Tensor, gamma: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
    """Add gamma * branch to tokens x (..., C): gives the sum, and its LayerNorm."""
    rows = x.flatten(0, -2), branch.flatten(0, -2)
    total, normed = _add_norm(*rows, gamma, norm.weight, norm.bias, norm.eps)
    return total.view(x.shape), normed.view(x.shape)


def linear_gelu(layer: Any, x: Tensor) -> Tensor:
    """Give gelu(layer(x)) of tokens."""
    if fuses_on_cpu(x):
        result: Tensor = ONEDNN._linear_pointwise(x, layer.weight, layer.bias, 'gelu', [], 'none')
        return result
    return F.gelu(layer(x))


def residual(
    first: nn.Conv2d, second: nn.Conv2d, bias: Tensor, x: Tensor, other: Tensor | None = None
) -> Tensor:
    """Give x + second(relu(first(relu(x)))) + other of maps; bias: to use as that of `second`.

    It may overwrite x.
    """
    if fuses_on_gpu(x):
        hidden = F.conv2d(F.relu(x), first.weight, None, padding=first.padding)
        hidden = map_of(_bias_relu(as_rows(hidden), first.bias), x)
        branch = as_rows(F.conv2d(hidden, second.weight, None, padding=second.padding))
        del hidden
        if other is None:
            return map_of(_add(branch, bias, as_rows(x)), x)
        return map_of(_add_both(branch, bias, as_rows(x), as_rows(other)), x)
    if fuses_on_cpu(x):
        hidden = ONEDNN._convolution_pointwise(
            F.relu(x), first.weight, first.bias, *SAME, 'relu', [], ''
        )
        ONEDNN._convolution_pointwise_.binary(
            x, hidden, second.weight, bias, *SAME, 'add', None, None, [], ''
        )
    else:
        hidden = first(F.relu(x)).relu_()
        x = F.conv2d(hidden, second.weight, bias, padding=second.padding).add_(x)
    return x if other is None else x.add_(other)


def project(deconv: Any, border: Any, last: Any, x: Tensor) -> Tensor:
    """Give relu(last(relu(border(deconv(x))))): (B, D, H, W) -> (B, 1, 2H, 2W), in float32."""
    if not fuses_on_gpu(x):
        x = border(deconv(x)).relu_()
        return F.relu(conv_float32(last, x))
    x = border(F.conv_transpose2d(x, deconv.weight, None, deconv.stride, deconv.padding))
    answer = _project(as_rows(x), deconv.bias, last.weight.flatten(), last.bias)
    return map_of(answer[:, None], x)


def as_rows(x: Tensor) -> Tensor:
    """Give the pixels of a map (B, C, H, W), channels last, as rows (B H W, C)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def map_of(rows: Tensor, like: Tensor) -> Tensor:
    """Give rows (B H W, C) as a map of the size of another: (B, C, H, W), channels last."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)
