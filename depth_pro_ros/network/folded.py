"""Depth Pro for inference: the function of `DepthPro` in fewer operations and less memory."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor, nn

from depth_pro_ros.network import fold, steps
from depth_pro_ros.network.decoder import DepthHead, Fusion, Residual
from depth_pro_ros.network.depth_pro import DepthPro, DepthProOutput
from depth_pro_ros.network.encoder import Encoder, shrink
from depth_pro_ros.network.tiled_vit import TiledViT
from depth_pro_ros.network.vit import TokenViT

HALO = 6
"""Rows at the finest level that one row of the answer sees above and below itself: four 3x3
convolutions, and two in the head."""


class FoldedDepthPro(nn.Module):
    """Computes what the network it is made from does, up to rounding, and shares its weights."""

    skips: Any  # torch types what modules hold as "Tensor or Module"

    def __init__(self, network: DepthPro) -> None:
        super().__init__()
        self.config, grid = network.config, network.config.grid
        encoder, decoder, fov = network.encoder, network.decoder, network.fov
        fusions: Any = decoder.fusions
        self.patch_vit = TiledViT(encoder.patch_encoder, grid, network.config.tile_counts)
        self.image_vit = self.fov_vit = None
        if encoder.image_encoder is not None and isinstance(fov.encoder[0], TokenViT):
            self.image_vit = TiledViT(encoder.image_encoder, grid, [1])
            self.fov_vit = TiledViT(fov.encoder[0], grid, [1])
        self.fov = fov
        self.lowest, self.lowest_border = fold_lowest(encoder, decoder.convs[-1])
        self.skips = nn.ModuleList(
            fold_skip(upsampler, conv)
            for upsampler, conv in zip(encoder.upsamplers, decoder.convs[:-1], strict=True)
        )
        self.doublings = nn.ModuleList(fold_doubling(fusion) for fusion in fusions[1:])
        projections = [fusion.out_conv for fusion in fusions[1:]]
        self.fusions = nn.ModuleList(
            FoldedFusion(fusion, coarser)
            for fusion, coarser in zip(fusions, [*projections, None], strict=True)
        )
        self.head = FoldedHead(network.head, fusions[0].out_conv)

    def forward(
        self,
        image: Tensor,
        need_fov: bool = True,
        tile_batch: int | None = None,
        strip_rows: int | None = None,
    ) -> DepthProOutput:
        """Estimate depth and field of view.

        image, need_fov: as of `DepthPro`.
        tile_batch: ViT tiles computed at once (None: all); less is slower and smaller.
        strip_rows: the finest level is computed in strips of so many of its S/2 rows, which costs
        2 * HALO rows more a strip and saves most of the decoder's memory; None: all at once.
        """
        pyramid = [image, *(shrink(image, 2**i) for i in range(1, self.config.scales))]
        beside = stream_beside(image)
        try:
            with contextlib.nullcontext() if beside is None else torch.cuda.stream(beside):
                whole = seen = None
                if self.image_vit is not None:
                    whole = self.image_vit(pyramid[-1:])[0][0]
                if self.fov_vit is not None and need_fov:
                    seen = self.fov_vit(pyramid[-1:])[0][0]
            maps, sources = self.patch_vit(pyramid, self.config.intermediate_blocks, tile_batch)
        finally:  # nothing may be left beside, or what is recorded cannot be ended
            if beside is not None:
                torch.cuda.current_stream().wait_stream(beside)
        coarse = maps.pop()
        sources += maps
        if seen is None:
            seen = coarse  # of a shared ViT
        if whole is not None:
            coarse = torch.cat([coarse, whole], dim=1)
        lowest = self.lowest_border(self.lowest(coarse))
        fov_deg = self.fov(seen, lowest) if need_fov else None
        del coarse, whole, seen
        x = self.fusions[-1](lowest)
        for level in reversed(range(1, len(sources))):
            x = self.doublings[level](x)
            x = self.fusions[level](x, self.skips[level](sources.pop()))
        return DepthProOutput(self._finest(x, sources.pop(), strip_rows), fov_deg)

    def _finest(self, x: Tensor, source: Tensor, strip_rows: int | None) -> Tensor:
        """Run the finest level and the head, from the level below, which is half as fine."""
        *layers, last = self.skips[0]
        for layer in layers:
            source = layer(source)
        height = x.shape[-2]
        rows = height if strip_rows is None else strip_rows // 2
        parts = []
        for top in range(0, height, rows):
            begin, end = max(0, top - HALO // 2), min(height, top + rows + HALO // 2)
            part = self.doublings[0](x[..., begin:end, :])
            part = self.head(self.fusions[0](part, last(source[..., begin:end, :])))
            parts.append(part[..., 4 * (top - begin) :, :][..., : 4 * rows, :])
        return torch.cat(parts, dim=-2)


def stream_beside(image: Tensor) -> torch.cuda.Stream | None:
    """Give a stream for what is too small to fill a GPU, where a graph is recorded; else None."""
    if not image.is_cuda or torch.compiler.is_compiling():
        return None
    if not torch.cuda.is_current_stream_capturing():
        return None
    beside = second_stream(image.device)
    beside.wait_stream(torch.cuda.current_stream())
    return beside


@functools.cache
def second_stream(device: torch.device) -> torch.cuda.Stream:
    """Give a GPU's stream for that; one for all, as libraries keep memory for each."""
    return torch.cuda.Stream(device)


class FoldedFusion(nn.Module):
    """A `Fusion` up to its doubling, with the bias of the doubling before it."""

    def __init__(self, fusion: Fusion, coarser: nn.Conv2d | None) -> None:
        """coarser: the projection after the doubling that is added to the skip; None: none is."""
        super().__init__()
        self.resnet1, self.resnet2 = fusion.resnet1, fusion.resnet2
        self.shift = None
        if coarser is not None:
            second: Any = self.resnet1.residual[3]
            self.shift = fold.parameter(fold.bias(second) + fold.bias(coarser), like=second)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(B, D, h, w), and a skip of that shape -> (B, D, h, w)."""
        if skip is not None:
            x = run_residual(self.resnet1, skip, self.shift, x)
            del skip
        return run_residual(self.resnet2, x)


class FoldedHead(nn.Module):
    """The depth head in three layers, the projection of the finest fusion before it included."""

    def __init__(self, head: DepthHead, project: nn.Conv2d) -> None:
        super().__init__()
        first, deconv, conv, _, self.last = head
        shift, self.first_border = fold.bias_through_3x3(fold.bias(project), first)
        weight = torch.einsum('omkl,mi->oikl', fold.kernel(first), fold.kernel(project)[..., 0, 0])
        self.first = fold.convolution(weight, shift + fold.bias(first), like=first)
        shift, self.second_border = fold.bias_through_3x3(fold.bias(deconv), conv)
        weight = fold.after_3x3(fold.kernel(deconv), fold.kernel(conv))
        self.second = fold.deconvolution(weight, shift + fold.bias(conv), like=conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> canonical inverse depth (B, 1, 2h, 2w)."""
        return steps.project(
            self.second, self.second_border, self.last, self.first_border(self.first(x))
        )


def fold_doubling(fusion: Fusion) -> nn.ConvTranspose2d:
    """Join the doubling at the end of a fusion with the 1x1 projection after it, but its bias."""
    project = fusion.out_conv
    weight = fold.after(fold.kernel(fusion.deconv), fold.kernel(project))
    return fold.deconvolution(weight, None, like=project)


def fold_skip(upsampler: nn.Sequential, conv: nn.Module) -> nn.Sequential:
    """Join an upsampler with the decoder's 3x3 convolution after it, where there is one."""
    if not isinstance(conv, nn.Conv2d):
        return upsampler
    *layers, last = upsampler
    weight = fold.after_3x3(fold.kernel(last), fold.kernel(conv))
    if len(layers) == 1:  # the 1x1 alone: composed where that costs less
        project = fold.kernel(layers[0])
        (dim, dim_in), dim_out = project.shape[:2], weight.shape[1]
        if 16 * dim_in * dim_out <= dim * (dim_in + 16 * dim_out):
            weight, layers = fold.before(project, weight), []
    return nn.Sequential(*layers, fold.deconvolution(weight, None, like=conv))


def fold_lowest(encoder: Encoder, conv: nn.Module) -> tuple[nn.ConvTranspose2d, fold.Border]:
    """Join all from the two coarsest maps to the coarsest decoder feature: one deconvolution.

    Its input are both maps (B, 2C, g, g), or the one (B, C, g, g) that a shared ViT gives.
    """
    project, doubling = map(fold.kernel, encoder.upsample2)
    lowres, fuse = encoder.upsample_lowres, encoder.fuse_lowres
    of_coarse, of_image = fold.kernel(fuse).chunk(2, dim=1)
    coarse = fold.after(fold.before(project, doubling), of_coarse)
    image = fold.after(fold.kernel(lowres), of_image)
    both = coarse + image if encoder.image_encoder is None else torch.cat([coarse, image])
    constant = fold.bias(fuse) + of_image[..., 0, 0] @ fold.bias(lowres)
    shift, border = fold.bias_through_3x3(constant, conv)
    return fold.deconvolution(fold.after_3x3(both, fold.kernel(conv)), shift, like=conv), border


def run_residual(
    block: Residual, x: Tensor, shift: Tensor | None = None, other: Tensor | None = None
) -> Tensor:
    """Run a residual block and add another map; shift: in place of its last bias."""
    first: Any = block.residual[1]
    second: Any = block.residual[3]
    return steps.residual(first, second, second.bias if shift is None else shift, x, other)
