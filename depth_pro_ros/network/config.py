"""The size of a Depth Pro network, and the two sizes that have a name."""

from __future__ import annotations

import dataclasses
from typing import Any

TILES = {1: 1, 2: 3, 4: 5}
"""Tiles along one side of a picture that is 1, 2 or 4 tiles wide: they overlap by a half, or by a
quarter."""


@dataclasses.dataclass(frozen=True)
class DepthProConfig:
    """Every number that shapes the network; the defaults are the official Depth Pro."""

    tile_size: int = 384
    """Pixels of a square ViT tile. A tile must be a multiple of eight patches wide, or of four
    where there are fewer than three scales."""
    scales: int = 3
    """Halvings of the image pyramid, plus one. 3 (paper, section 3.1): the input is four tiles
    wide and seen as 5x5 + 3x3 + 1 overlapping tiles. 2: two tiles wide, seen as 3x3 + 1. 1: one
    tile, the whole image, where the finest decoder levels take what its first blocks saw."""
    patch_size: int = 16
    """Pixels of a ViT patch."""
    vit_width: int = 1024
    vit_depth: int = 24
    vit_heads: int = 16
    intermediate_blocks: tuple[int, int] = (5, 11)
    """ViT blocks whose tokens feed the two finest decoder levels, finest first."""
    share_vit: bool = False
    """One ViT serves tiles, whole image and field of view, instead of three of their own. The
    coarsest tile is the whole image, so the three then also share one pass."""
    neck_dims: tuple[int, ...] = (256, 256, 512, 1024, 1024)
    """Channels handed to the decoder, finest level first, `scales` + 2 of them; the first equals
    `decoder_dim`."""
    decoder_dim: int = 256
    head_dim: int = 32
    antialias: bool = False
    """Low-pass filter when an image is shrunk to the network input. The official network does
    without, which a small input cannot afford."""

    def __post_init__(self) -> None:
        if self.scales not in (1, 2, 3):
            raise ValueError(f'scales {self.scales} is not 1, 2 or 3')
        patches = max(4, 2**self.scales)
        if self.tile_size % (patches * self.patch_size):
            raise ValueError(
                f'tile_size {self.tile_size} is not a multiple of {patches} patches of '
                f'{self.patch_size}'
            )
        if len(self.neck_dims) != self.scales + 2:
            raise ValueError(f'neck_dims {self.neck_dims} are not {self.scales + 2}')
        if self.neck_dims[0] != self.decoder_dim:
            raise ValueError(
                f'neck_dims[0] {self.neck_dims[0]} differs from decoder_dim {self.decoder_dim}'
            )
        first, second = self.intermediate_blocks
        if not 0 <= first < second < self.vit_depth - 1:  # the last one is the answer
            raise ValueError(
                f'intermediate_blocks {self.intermediate_blocks} must rise inside 0..vit_depth-2'
            )

    @property
    def image_size(self) -> int:
        """Width and height of the square network input in pixels."""
        return self.tile_size << (self.scales - 1)

    @property
    def answer_size(self) -> int:
        """Width and height of the inverse depth: as of the input, with patches of 16 pixels."""
        return self.grid << (self.scales + 3)

    @property
    def grid(self) -> int:
        """Patch tokens along one side of a tile."""
        return self.tile_size // self.patch_size

    @property
    def tile_counts(self) -> list[int]:
        """Tiles along one side of each image of the pyramid, finest first; of three: 5, 3, 1."""
        return [TILES[2**i] for i in reversed(range(self.scales))]

    @property
    def tiles(self) -> int:
        """Tiles of a picture: 35, 10 or 1."""
        return sum(count**2 for count in self.tile_counts)

    @classmethod
    def large(cls) -> DepthProConfig:
        """Give the official network: 952.0 M parameters, 1536 x 1536 input."""
        return cls()

    @classmethod
    def small(cls) -> DepthProConfig:
        """Give the network that ships with the package: one small ViT, 384 x 384 input."""
        return cls(
            tile_size=384,
            scales=1,
            vit_width=384,
            vit_depth=7,
            vit_heads=6,
            intermediate_blocks=(1, 3),
            share_vit=True,
            neck_dims=(64, 64, 128),
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
