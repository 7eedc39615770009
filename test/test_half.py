"""What half precision does to the answer, with a GPU's arithmetic and without the GPU.

A GPU sums the products of halves in float32 and rounds the sum; a CPU takes its time over the same.
So the operations that multiply are done in float32 here, of halves, and rounded to halves.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from depth_pro_ros.bench.bench import differences, picture
from depth_pro_ros.bench.lively import lively_network
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import load_network
from depth_pro_ros.network.weights import find_weights

CPU = torch.device('cpu')
ATEN = torch.ops.aten
PRODUCTS = (ATEN.linear, ATEN.conv2d, ATEN.conv_transpose2d, ATEN.scaled_dot_product_attention)


class ArithmeticOfAGpu(TorchDispatchMode):
    """Sums products of halves in float32, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        halves = any(isinstance(each, torch.Tensor) and each.dtype == torch.half for each in args)
        if not halves or func.overloadpacket not in PRODUCTS:
            return func(*args, **kwargs)
        self.products += 1
        args, kwargs = tree_map_only(torch.Tensor, torch.Tensor.float, (args, kwargs))
        return tree_map_only(torch.Tensor, torch.Tensor.half, func(*args, **kwargs))


def compare(network: DepthPro, dtype: torch.dtype, size: tuple[int, int]) -> tuple[float, ...]:
    """Give median, 99th percentile and most of what a precision changes; prints them."""
    rgb = picture(*size)
    exact = DepthEstimator(network.float(), CPU, torch.float32).predict(rgb)
    with ArithmeticOfAGpu() as arithmetic:
        found = DepthEstimator(network, CPU, dtype).predict(rgb)
    assert arithmetic.products > 30 or dtype != torch.half
    result = differences(found.depth_m, exact.depth_m)
    focal = abs(found.focal_px / exact.focal_px - 1)
    print(f'{dtype}: depth {", ".join(f"{v:.1e}" for v in result)}; focal length {focal:.1e}')
    return result


def test_the_shipped_weights_in_half_precision():
    network = load_network(find_weights('small'))
    half = compare(network, torch.half, (640, 480))
    assert half[0] < 1e-3
    assert half[0] < compare(network, torch.bfloat16, (640, 480))[0]


@pytest.mark.official_size
def test_the_official_size_in_half_precision():
    assert compare(lively_network(DepthProConfig.large()), torch.half, (1920, 1080))[0] < 1e-3
