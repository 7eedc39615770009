"""Metric depth from one picture: device, precision, memory, and the metric step."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from depth_pro_ros.camera import MAX_FOV_DEG, MIN_FOV_DEG, check_size, fov_from_focal
from depth_pro_ros.devices import (
    Transfers,
    choose_device,
    choose_precision,
    keep_exact,
    keep_memory,
    precision_name,
    release_memory,
)
from depth_pro_ros.edges import flying_pixels
from depth_pro_ros.network import DepthPro, DepthProOutput, stretch
from depth_pro_ros.network.checkpoint import load_network
from depth_pro_ros.network.folded import FoldedDepthPro
from depth_pro_ros.network.pieces import check_memory, choose_pieces
from depth_pro_ros.network.recording import Recordings
from depth_pro_ros.network.weights import file_stamp, find_weights

logger = logging.getLogger(__name__)

MIN_INVERSE, MAX_INVERSE = 1e-4, 1e4
"""Inverse depth is clamped to these, in 1/m; the lower one is too far (sky)."""


def do_nothing() -> None:
    """Do nothing."""


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
    """Runs Depth Pro on one device. Not thread-safe: use it from the thread that made it.

    On a CPU the process keeps the memory that a picture takes (`devices.keep_memory`).
    """

    def __init__(
        self,
        network: DepthPro,
        device: torch.device,
        dtype: torch.dtype,
        memory: str = 'auto',
        weights_stamp: str = '',
    ) -> None:
        """Take over a network, whose weights move to the device.

        memory: `auto` or `low`; where the device runs out of it, pieces become smaller. Raises
        ValueError for another. weights_stamp: of the file that the weights were read from.
        """
        self.device = device
        self.dtype = dtype
        self.config = network.config
        self.weights_stamp = weights_stamp
        self.pieces = choose_pieces(memory, device, network.config, dtype)
        folded = FoldedDepthPro(network.to(device)).eval()
        self.network = folded.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        keep_exact(device, dtype)
        if device.type == 'cpu':
            release_memory()  # of what made the network
            keep_memory()
        self._recordings = Recordings(device)
        self._transfers = Transfers(device)

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = 'small',
        device: str = 'auto',
        precision: str = 'auto',
        memory: str = 'auto',
    ) -> DepthEstimator:
        """Load weights by name (`small`, `depth_pro`) or path.

        device: `auto`, `cpu`, `cuda`, `cuda:1`. precision: `auto`, `fp32`, `fp16`, `bf16`.
        memory: `auto`, or `low` for a GPU that is short of it.
        Raises WeightsError, CheckpointError or ValueError with a message for the user.
        """
        target = choose_device(device)
        dtype = choose_precision(precision, target)
        check_memory(memory)  # before a download
        path = find_weights(str(weights))
        stamp = file_stamp(path)  # before it is read: a training run may replace it meanwhile
        estimator = cls(load_network(path), target, dtype, memory, stamp)
        logger.info('%s on %s in %s', path.name, estimator.device_name, estimator.precision)
        return estimator

    def warm_up(self) -> None:
        """Do what is slow at first, so that no picture has to wait for it."""
        blank = np.zeros((480, 640, 3), np.uint8)
        self.predict(blank)
        if self.device.type == 'cuda':  # to be ready for both, and recorded the second time
            for focal_px in (500.0, None, 500.0):
                self.predict(blank, focal_px)

    def predict(
        self,
        rgb: NDArray[np.uint8],
        focal_px: float | None = None,
        *,
        estimate_focal: bool = False,
        edge_ratio: float = 0.0,
        on_wait: Callable[[], None] = do_nothing,
    ) -> DepthPrediction:
        """Estimate the depth of one picture (paper, section 3.1: C, inverted after resizing).

        rgb: (H, W, 3) uint8, 16 to 8192 pixels a side, of a pinhole camera.
        focal_px: horizontal focal length in pixels of this picture; None asks the network.
        estimate_focal: ask the network for a second opinion also where focal_px is given.
        edge_ratio: depth edges of at least this ratio, between pixels of the picture or, where they
        are fewer, of the network, become NaN; 0: none do.
        on_wait: called, perhaps twice, when there is little to do but wait for a GPU.
        Raises ValueError for a picture or focal length that cannot be used, OutOfMemoryError
        where the device is too small, ArithmeticError where the answer is not finite.
        """
        (prediction,) = self.predict_batch(
            [rgb],
            [focal_px],
            estimate_focal=estimate_focal,
            edge_ratio=edge_ratio,
            on_wait=on_wait,
        )
        return prediction

    def predict_batch(
        self,
        rgbs: Sequence[NDArray[np.uint8]],
        focals_px: Sequence[float | None],
        *,
        estimate_focal: bool = False,
        edge_ratio: float = 0.0,
        on_wait: Callable[[], None] = do_nothing,
    ) -> list[DepthPrediction]:
        """Estimate the depth of several pictures, of any sizes, in one pass of the network.

        Each has its focal length, or None; for the rest see `predict`.
        """
        for rgb, focal_px in zip(rgbs, focals_px, strict=True):
            check_picture(rgb)
            if focal_px is not None and not (math.isfinite(focal_px) and focal_px > 0):
                raise ValueError(f'focal_px is {focal_px}; it must be positive and finite')
        need_fov = estimate_focal or None in focals_px
        try:
            try:
                return self._predict(rgbs, focals_px, need_fov, edge_ratio, on_wait)
            except torch.cuda.OutOfMemoryError:
                if not len(self._recordings):
                    raise
            self._recordings.stop('too little memory beside them')
            return self._predict(rgbs, focals_px, need_fov, edge_ratio, on_wait)
        except torch.cuda.OutOfMemoryError as error:
            sizes = ', '.join(f'{rgb.shape[1]}x{rgb.shape[0]}' for rgb in rgbs)
            raise OutOfMemoryError(
                f'{self.device_name} has too little free memory for {sizes} even '
                'with one tile at a time: free some, or choose weights '
                "'small' or device 'cpu'"
            ) from error

    @torch.inference_mode()
    def _predict(
        self,
        rgbs: Sequence[NDArray[np.uint8]],
        focals_px: Sequence[float | None],
        need_fov: bool,
        edge_ratio: float,
        on_wait: Callable[[], None],
    ) -> list[DepthPrediction]:
        images = torch.cat([self._network_input(rgb) for rgb in rgbs])
        output = self._run(images, need_fov)
        fovs_deg = [None] * len(rgbs) if output.fov_deg is None else output.fov_deg.unbind()
        each = zip(output.inverse_depth.split(1), fovs_deg, rgbs, focals_px, strict=True)
        answers = [self._metric(*one, edge_ratio) for one in each]
        if self.device.type == 'cuda':  # a CPU is done by now
            on_wait()
        return [answer() for answer in answers]

    def _metric(
        self,
        canonical: Tensor,
        fov_deg: Tensor | None,
        rgb: NDArray[np.uint8],
        focal_px: float | None,
        edge_ratio: float,
    ) -> Callable[[], DepthPrediction]:
        """Let the device turn canonical inverse depth (1, 1, S, S) and field of view into metres.

        Gives what waits for that, once, and gives the prediction.
        """
        height, width = rgb.shape[:2]
        network_px = None if fov_deg is None else focal_from_estimate(fov_deg.double(), width)
        scale_px = focal_px or network_px
        assert scale_px is not None
        depth = metric_depth(canonical, scale_px, width, height)
        if edge_ratio > 0.0:
            edges = flying_pixels(depth, edge_ratio)
            if max(width, height) > canonical.shape[-1]:
                edges |= flying_between(canonical, scale_px, width, height, edge_ratio)
            depth.masked_fill_(edges, math.nan)
        depth_m = self._transfers.download(depth)
        sums = [canonical.sum().double()]
        numbers = torch.stack(sums if network_px is None else [*sums, network_px])

        def answer() -> DepthPrediction:
            total, *estimates = numbers.tolist()
            estimated = next(filter(math.isfinite, estimates), None)
            focal = focal_px or estimated
            if not math.isfinite(total) or focal is None:
                raise ArithmeticError(
                    f'the network gave values that are not finite in {self.precision}: the '
                    'weights are damaged, or need precision fp32'
                )
            fov = fov_from_focal(focal, width)
            return DepthPrediction(depth_m(), focal, fov, focal_px is None, estimated)

        return answer

    @property
    def device_name(self) -> str:
        """Name the device for people, such as `cuda:0 (NVIDIA H100)`."""
        if self.device.type == 'cuda':
            return f'{self.device} ({torch.cuda.get_device_name(self.device)})'
        return f'cpu ({torch.get_num_threads()} threads)'

    @property
    def precision(self) -> str:
        """Name the arithmetic: fp32, fp16 or bf16."""
        return precision_name(self.dtype)

    def _network_input(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Stretch a picture to the network's square: (H, W, 3) uint8 -> (1, 3, S, S) in [-1, 1]."""
        image = self._transfers.upload(np.require(rgb, requirements=['C', 'W']))
        image = image.permute(2, 0, 1).unsqueeze(0).float().div_(127.5).sub_(1.0)
        return stretch(image, self.config).to(self.dtype, memory_format=torch.channels_last)

    def _run(self, images: Tensor, need_fov: bool) -> DepthProOutput:
        """Run the network, in smaller pieces where the device's memory is too small."""
        while True:
            pieces = self.pieces.tile_batch, self.pieces.strip_rows
            try:
                if self.device.type != 'cuda':
                    output: DepthProOutput = self.network(images, need_fov, *pieces)
                    return output
                return self._recordings.run(self.network, images, need_fov, *pieces)
            except torch.cuda.OutOfMemoryError:
                smaller = self.pieces.smaller(self.config, self.config.tiles * len(images))
                if smaller is None:
                    raise
            self.pieces = smaller
            with contextlib.suppress(RuntimeError):  # as in Recordings
                torch.cuda.empty_cache()
            logger.warning('out of memory: going on with tile batches of %d', smaller.tile_batch)


def focal_from_estimate(fov_deg: Tensor, width: int) -> Tensor:
    """Give the focal length in pixels of the network's field of view, taken to be a camera's."""
    return 0.5 * width / torch.tan(0.5 * torch.deg2rad(fov_deg.clamp(MIN_FOV_DEG, MAX_FOV_DEG)))


def metric_depth(canonical: Tensor, focal_px: float | Tensor, width: int, height: int) -> Tensor:
    """Turn canonical inverse depth (1, 1, S, S) into metres (height, width); +Inf = too far.

    Inverse depth is resized before it is inverted: a mean of depths across an edge would lie in
    the air between, a mean of inverse depths does so far less.
    """
    inverse = canonical * (width / focal_px)
    if inverse.shape[-2:] != (height, width):
        inverse = F.interpolate(inverse, size=(height, width), mode='bilinear', align_corners=False)
    inverse.clamp_(max=MAX_INVERSE)
    F.threshold(inverse, MIN_INVERSE, 0.0, inplace=True)
    return inverse.reciprocal_()[0, 0]  # 1/0 is +Inf


def flying_between(
    canonical: Tensor, focal_px: float | Tensor, width: int, height: int, ratio: float
) -> Tensor:
    """Tell which pixels of a larger picture lie at an edge of the network's answer: (H, W) bool.

    Between two of its values there are several of them, and so a slope in place of an edge.
    """
    size = canonical.shape[-1]
    depth = metric_depth(canonical, focal_px * (size / width), size, size)
    edges = flying_pixels(depth, ratio)[None, None].float()
    return F.interpolate(edges, (height, width), mode='bilinear')[0, 0] > 0.5


def check_picture(rgb: NDArray[np.uint8]) -> None:
    """Raise ValueError for anything but an (H, W, 3) uint8 picture of a usable size."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f'expected an (H, W, 3) uint8 picture, got {rgb.shape} {rgb.dtype}')
    check_size(rgb.shape[1], rgb.shape[0])
