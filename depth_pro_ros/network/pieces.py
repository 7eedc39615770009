"""How much of the network is computed at once."""

from __future__ import annotations

import dataclasses

import torch

from depth_pro_ros.network.config import DepthProConfig

MEMORY = ('auto', 'low')
PIECE_BYTES = 48 * 2**20
"""About the largest tensor in a piece. It is best on a CPU, which has caches for that; a GPU takes
less memory by it, but more time."""
LEAST_ROWS = 16


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Less at once needs less memory, and changes nothing else."""

    tile_batch: int | None = None
    """ViT tiles; None: all."""
    strip_rows: int | None = None
    """Rows of the decoder's finest level; None: all."""

    @classmethod
    def within(cls, config: DepthProConfig, dtype: torch.dtype, most_bytes: int) -> Pieces:
        """Give pieces of so many bytes, as the inside of the ViT's MLP and as a map."""
        tile = (config.grid**2 + 1) * 4 * config.vit_width * dtype.itemsize
        row = config.image_size // 2 * config.decoder_dim * dtype.itemsize
        return cls(max(1, most_bytes // tile), max(LEAST_ROWS, most_bytes // row))

    def smaller(self, config: DepthProConfig, tiles: int) -> Pieces | None:
        """Give pieces half as large, where `tiles` are all; None: there are none."""
        tile_batch = min(self.tile_batch or tiles, tiles)
        rows = min(self.strip_rows or config.image_size, config.image_size // 2)
        if tile_batch == 1 and rows <= LEAST_ROWS:
            return None
        return Pieces(max(1, tile_batch // 2), max(LEAST_ROWS, rows // 2))


def choose_pieces(
    memory: str, device: torch.device, config: DepthProConfig, dtype: torch.dtype
) -> Pieces:
    """Give the pieces for `memory`: `low` needs little, `auto` is what is fastest."""
    check_memory(memory)
    if memory == 'auto' and device.type == 'cuda':
        return Pieces()
    return Pieces.within(config, dtype, PIECE_BYTES)


def check_memory(memory: str) -> None:
    """Raise ValueError for what `memory` cannot be."""
    if memory not in MEMORY:
        raise ValueError(f"no memory '{memory}': use {' or '.join(MEMORY)}")
