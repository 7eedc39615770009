"""The size of a Depth Pro network, and the two sizes that have a name."""

from __future__ import annotations

import dataclasses
from typing import Any

Dims5 = tuple[int, int, int, int, int]


@dataclasses.dataclass(frozen=True)
class DepthProConfig:
    """Every number that shapes the network; the defaults are the official Depth Pro.

    The pyramid (1, 1/2, 1/4), its 5x5 + 3x3 + 1 overlapping tiles and the order of the layers are
    the architecture itself (paper, section 3.1) and cannot be configured.
    """

    tile_size: int = 384
    """Pixels of a square ViT tile; the network input is four tiles wide and high."""
    patch_size: int = 16
    """Pixels of a ViT patch. A tile must be a multiple of eight patches wide."""
    vit_width: int = 1024
    vit_depth: int = 24
    vit_heads: int = 16
    intermediate_blocks: tuple[int, int] = (5, 11)
    """ViT blocks whose tokens feed the two finest decoder levels, finest first."""
    share_vit: bool = False
    """One ViT serves tiles, whole image and field of view, instead of three of their own. The
    coarsest tile is the whole image, so the three then also share one pass."""
    neck_dims: Dims5 = (256, 256, 512, 1024, 1024)
    """Channels handed to the decoder, finest level first; the first equals `decoder_dim`."""
    decoder_dim: int = 256
    head_dim: int = 32
    antialias: bool = False
    """Low-pass filter when an image is shrunk to the network input. The official network does
    without, which a small input cannot afford."""

    def __post_init__(self) -> None:
        if self.tile_size % (8 * self.patch_size):
            raise ValueError(
                f'tile_size {self.tile_size} is not a multiple of 8 patches of {self.patch_size}'
            )
        if self.neck_dims[0] != self.decoder_dim:
            raise ValueError(
                f'neck_dims[0] {self.neck_dims[0]} differs from decoder_dim {self.decoder_dim}'
            )
        first, second = self.intermediate_blocks
        if not 0 <= first < second < self.vit_depth:
            raise ValueError(
                f'intermediate_blocks {self.intermediate_blocks} must rise inside 0..vit_depth-1'
            )

    @property
    def image_size(self) -> int:
        """Width and height of the square network input in pixels."""
        return 4 * self.tile_size

    @property
    def grid(self) -> int:
        """Patch tokens along one side of a tile."""
        return self.tile_size // self.patch_size

    @classmethod
    def large(cls) -> DepthProConfig:
        """Give the official network: 952.0 M parameters, 1536 x 1536 input."""
        return cls()

    @classmethod
    def small(cls) -> DepthProConfig:
        """Give the network that ships with the package: one small ViT, 512 x 512 input."""
        return cls(
            tile_size=128,
            vit_width=384,
            vit_depth=7,
            vit_heads=6,
            intermediate_blocks=(1, 3),
            share_vit=True,
            neck_dims=(64, 64, 128, 192, 128),
            decoder_dim=64,
            head_dim=16,
            antialias=True,
        )

    @classmethod
    def preset(cls, name: str) -> DepthProConfig:
        """Give a preset by its name, `large` or `small`."""
        presets = {'large': cls.large, 'small': cls.small}
        if name not in presets:
            raise ValueError(f"no preset '{name}'; there are: {', '.join(presets)}")
        return presets[name]()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DepthProConfig:
        """Rebuild a configuration from `dataclasses.asdict`, also after a trip through JSON."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f'unknown configuration entries: {", ".join(unknown)}')
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**tuples)
