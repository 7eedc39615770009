"""Metric depth from one picture: device, precision, memory, and the metric step."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import logging
import math
import resource
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from depth_pro_ros.camera import check_size, focal_from_fov, fov_from_focal
from depth_pro_ros.edges import flying_pixels
from depth_pro_ros.network import DepthPro
from depth_pro_ros.network.checkpoint import load_network
from depth_pro_ros.network.weights import find_weights

logger = logging.getLogger(__name__)

PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
MIN_INVERSE, MAX_INVERSE = 1e-4, 1e4
"""Inverse depth is clamped to these, in 1/m; the lower one is too far (sky)."""
MIN_FOV_DEG, MAX_FOV_DEG = 1.0, 170.0
"""An estimate outside of these is no camera, and is clamped so that depth stays finite."""


class OutOfMemoryError(RuntimeError):
    """The device cannot hold the network even with one tile at a time."""


@dataclasses.dataclass(frozen=True)
class DepthPrediction:
    """Metric depth of one picture."""

    depth_m: NDArray[np.float32]
    """(H, W) metres along the optical axis; +Inf = too far."""
    focal_px: float
    """Focal length in pixels that scaled the depth: the given one or the network's."""
    fov_deg: float
    """Horizontal field of view of that focal length."""
    focal_is_estimated: bool
    """Whether the field-of-view head gave it."""
    estimated_focal_px: float | None = None
    """What the field-of-view head says; None where it was not run."""


class DepthEstimator:
    """Runs Depth Pro on one device. Not thread-safe: use it from the thread that made it."""

    def __init__(self, network: DepthPro, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self.config = network.config
        self.network = network.to(device, dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.tile_batch: int | None = None

    @classmethod
    def from_pretrained(
        cls, weights: str | Path = 'small', device: str = 'auto', precision: str = 'auto'
    ) -> DepthEstimator:
        """Load weights by name (`small`, `depth_pro`) or path.

        device: `auto`, `cpu`, `cuda`, `cuda:1`. precision: `auto`, `fp32`, `fp16`, `bf16`.
        Raises WeightsError, CheckpointError or ValueError with a message for the user.
        """
        target = choose_device(device)
        dtype = choose_precision(precision, target)
        path = find_weights(str(weights))
        estimator = cls(load_network(path), target, dtype)
        logger.info('%s on %s in %s', path.name, estimator.device_name, estimator.precision)
        return estimator

    def predict(
        self,
        rgb: NDArray[np.uint8],
        focal_px: float | None = None,
        *,
        estimate_focal: bool = False,
        edge_ratio: float = 0.0,
    ) -> DepthPrediction:
        """Estimate the depth of one picture (paper, section 3.1: C, inverted after resizing).

        rgb: (H, W, 3) uint8, 16 to 8192 pixels a side, of a pinhole camera.
        focal_px: horizontal focal length in pixels of this picture; None asks the network.
        estimate_focal: ask the network for a second opinion also where focal_px is given.
        edge_ratio: depth edges of at least this ratio become NaN; 0: none do.
        Raises ValueError for a picture or focal length that cannot be used, OutOfMemoryError
        where the device is too small, ArithmeticError where the answer is not finite.
        """
        check_picture(rgb)
        if focal_px is not None and not (math.isfinite(focal_px) and focal_px > 0):
            raise ValueError(f'focal_px is {focal_px}; it must be positive and finite')
        height, width = rgb.shape[:2]
        try:
            with torch.inference_mode():
                need_fov = focal_px is None or estimate_focal
                canonical, fov_deg = self._run(self._network_input(rgb), need_fov)
                if not math.isfinite(canonical.sum().item()) or math.isnan(fov_deg):
                    raise ArithmeticError(
                        f'the network gave values that are not finite in {self.precision}: the '
                        'weights are damaged, or need precision fp32'
                    )
                estimated = focal_from_fov(min(max(fov_deg, MIN_FOV_DEG), MAX_FOV_DEG), width)
                focal = estimated if focal_px is None else focal_px
                depth = metric_depth(canonical, focal, width, height)
                if edge_ratio > 0.0:
                    depth.masked_fill_(flying_pixels(depth, edge_ratio), math.nan)
                depth_m = depth.cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f'{self.device_name} has too little free memory for an image of {width}x{height}, '
                f'with tile batches of {self.tile_batch or 35}: free some, or choose weights '
                "'small' or device 'cpu'"
            ) from error
        return DepthPrediction(
            depth_m,
            focal,
            fov_from_focal(focal, width),
            focal_px is None,
            estimated if need_fov else None,
        )

    @property
    def device_name(self) -> str:
        """Name the device for people, such as `cuda:0 (NVIDIA H100)`."""
        if self.device.type == 'cuda':
            return f'{self.device} ({torch.cuda.get_device_name(self.device)})'
        return f'cpu ({torch.get_num_threads()} threads)'

    @property
    def precision(self) -> str:
        """Name the arithmetic: fp32, fp16 or bf16."""
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)

    def peak_memory_bytes(self) -> int:
        """Give the most memory used so far: torch's on a GPU, the process's on a CPU."""
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def _network_input(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Stretch a picture to the network's square: (H, W, 3) uint8 -> (1, 3, S, S) in [-1, 1]."""
        image = torch.from_numpy(np.require(rgb, requirements=['C', 'W'])).to(self.device)
        image = image.permute(2, 0, 1).unsqueeze(0).float().div_(127.5).sub_(1.0)
        size = self.config.image_size
        image = F.interpolate(
            image,
            size=(size, size),
            mode='bilinear',
            align_corners=False,
            antialias=self.config.antialias,
        )
        return image.to(self.dtype, memory_format=torch.channels_last)

    def _run(self, image: Tensor, need_fov: bool) -> tuple[Tensor, float]:
        """Run the network, with smaller tile batches where the device's memory is too small."""
        while True:
            try:
                output = self.network(image, need_fov, self.tile_batch)
                fov_deg = output.fov_deg.item() if output.fov_deg is not None else 0.0
                return output.inverse_depth, fov_deg
            except torch.cuda.OutOfMemoryError:
                tiles = self.tile_batch or 35
                if tiles == 1:
                    raise
            self.tile_batch = (tiles + 1) // 2
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            logger.warning('out of memory: going on with tile batches of %d', self.tile_batch)


def metric_depth(canonical: Tensor, focal_px: float, width: int, height: int) -> Tensor:
    """Turn canonical inverse depth (1, 1, S, S) into metres (height, width); +Inf = too far.

    Inverse depth is resized before it is inverted: a mean of depths across an edge would lie in
    the air between, a mean of inverse depths does so far less.
    """
    inverse = canonical * (width / focal_px)
    if inverse.shape[-2:] != (height, width):
        inverse = F.interpolate(inverse, size=(height, width), mode='bilinear', align_corners=False)
    depth = 1.0 / inverse.clamp(MIN_INVERSE, MAX_INVERSE)
    return depth.masked_fill_(inverse <= MIN_INVERSE, math.inf)[0, 0]


def check_picture(rgb: NDArray[np.uint8]) -> None:
    """Raise ValueError for anything but an (H, W, 3) uint8 picture of a usable size."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f'expected an (H, W, 3) uint8 picture, got {rgb.shape} {rgb.dtype}')
    check_size(rgb.shape[1], rgb.shape[0])


def choose_device(device: str) -> torch.device:
    """Give the device of a name; `auto` is the first GPU, or the CPU where there is none."""
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"no device '{device}': use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ('cpu', 'cuda'):
        raise ValueError(f"no device '{device}': use auto, cpu, cuda or cuda:N")
    if chosen.type == 'cuda' and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' is not there: torch {torch.__version__} sees "
            f'{torch.cuda.device_count()} GPUs; use auto or cpu, or check the driver'
        )
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Give the dtype of a name; `auto` is fp16 on a GPU, bf16 on a CPU with units for it."""
    if precision == 'auto':
        if device.type == 'cuda':
            return torch.float16
        return torch.bfloat16 if cpu_has_bf16() else torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"no precision '{precision}': use auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16)."""
    try:
        flags = set(Path('/proc/cpuinfo').read_text().split())
    except OSError:
        return False
    return bool(flags & {'amx_bf16', 'avx512_bf16'})


def release_memory() -> None:
    """Give what torch keeps in reserve, and what the C library does, back to the system."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        ctypes.CDLL('libc.so.6').malloc_trim(0)
