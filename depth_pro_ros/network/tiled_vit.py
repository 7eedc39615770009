"""A ViT over all tiles of an image pyramid, which computes each patch of the answer once.

Tiles overlap, and merging their maps keeps each patch of the picture from one tile only. Tiles
begin at whole patches, so patches are embedded before tiles are cut, the last block runs only on
the tokens that are kept, and the answers are put straight into their place in the merged map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network import steps
from depth_pro_ros.network.vit import TokenViT


class TiledViT(nn.Module):
    """Runs a TokenViT, whose weights it shares, on the tiles of images of one pyramid.

    Patches of all images stand in one list, finest image first, each row by row.
    """

    vit: Any  # torch types what modules hold as "Tensor or Module"
    patches: Tensor
    """(n, g*g): the patch that each token of each tile is."""
    owner_tile: Tensor
    owner_token: Tensor
    """(P,): the token that a merged map keeps of each patch."""

    def __init__(self, vit: TokenViT, grid: int, counts: Sequence[int]) -> None:
        """Plan the tiles.

        grid: patches along a tile. counts: tiles along each image of the pyramid, such as 5, 3, 1.
        """
        super().__init__()
        self.vit = vit
        self.sides = [max(1, count - 1) * grid for count in counts]
        """Patches along each image."""
        patches, kept, first = list[Tensor](), list[Tensor](), 0
        for count, side in zip(counts, self.sides, strict=True):
            image_patches, image_kept = tile_patches(count, grid)
            patches.append(first + image_patches)
            kept.append(image_kept)
            first += side * side
        self._buffer('patches', torch.cat(patches))
        everything = torch.cat(kept)
        sizes = everything.sum(dim=1)
        self.groups = sizes.unique().tolist()
        for size in self.groups:  # tiles that keep equally many tokens are one batch
            tiles = (sizes == size).nonzero().flatten()
            self._buffer(f'tiles_{size}', tiles)
            tokens = everything[tiles].nonzero()[:, 1].unflatten(0, (-1, size))
            self._buffer(f'tokens_{size}', tokens)
            self._buffer(f'places_{size}', self.patches[tiles[:, None], tokens].flatten())
        tile, token = everything.nonzero().unbind(1)
        order = self.patches[tile, token].argsort()
        self._buffer('owner_tile', tile[order])
        self._buffer('owner_token', token[order])

    def forward(
        self, pyramid: Sequence[Tensor], blocks: Sequence[int] = (), tile_batch: int | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Give the normed map of each image, and of the finest one the raw maps after `blocks`.

        pyramid: images (B, 3, S, S), finest first. Maps are (B, C, S/p, S/p) of patches of p x p,
        channels last.
        tile_batch: tiles computed at once, of all B together; None: all.
        """
        vit = self.vit
        patch_rows = torch.cat([embed(vit, x) for x in pyramid], dim=1)  # (B, P, C)
        ends: list[Tensor] = []
        taken: list[list[Tensor]] = [[] for _ in blocks]
        at_once = max(1, (tile_batch or self.patches.numel()) // len(patch_rows))
        for patches in self.patches.split(at_once):
            x = self._tokens(patch_rows[:, patches])
            normed = vit.blocks[0].norm1(x)
            for index, block in enumerate(vit.blocks[:-1]):
                x, normed = run_block(block, x, normed, vit.blocks[index + 1].norm1)
                if index in blocks:
                    taken[blocks.index(index)].append(x.unflatten(0, (-1, len(patches))))
            ends.append(x.unflatten(0, (-1, len(patches))))
        answer = self._last_block(torch.cat(ends, dim=1))
        maps = [
            as_map(part, side)
            for part, side in zip(answer.split([s * s for s in self.sides], dim=1), self.sides)
        ]
        fine = self.sides[0] ** 2
        tiles, tokens = self.owner_tile[:fine], self.owner_token[:fine] + 1
        latents = [torch.cat(parts, dim=1)[:, tiles, tokens] for parts in taken]
        return maps, [as_map(latent, self.sides[0]) for latent in latents]

    def _tokens(self, patches: Tensor) -> Tensor:
        """Add class token and position: (B, n, g*g, C) -> (B n, 1 + g*g, C)."""
        patches = patches.flatten(0, 1)
        position = self.vit.pos_embed
        start = (self.vit.cls_token + position[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([start, patches + position[:, 1:]], dim=1)

    def _last_block(self, x: Tensor) -> Tensor:
        """Run the last block and the norm for kept tokens: (B, n, 1 + g*g, C) -> (B, P, C)."""
        answer = x.new_empty(len(x), len(self.owner_tile), x.shape[-1])
        for size in self.groups:
            tiles, kept = getattr(self, f'tiles_{size}'), getattr(self, f'tokens_{size}') + 1
            rows = x[:, tiles[:, None], kept].flatten(0, 1)  # (B n, k, C)
            tokens = x[:, tiles].flatten(0, 1)
            rows = run_block_for(self.vit.blocks[-1], rows, tokens, self.vit.norm)
            answer[:, getattr(self, f'places_{size}')] = rows.reshape(len(x), -1, rows.shape[-1])
        return answer

    def _buffer(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)


def tile_patches(count: int, grid: int) -> tuple[Tensor, Tensor]:
    """Give which patch of an image each token of its tiles is, and whether merging keeps it.

    Both are (count*count, grid*grid). Half of an overlap is cut at every inner edge.
    """
    side = max(1, count - 1) * grid
    stride = (side - grid) // max(1, count - 1)
    along = torch.arange(count)[:, None] * stride + torch.arange(grid)  # (count, g)
    patches = along[:, None, :, None] * side + along[None, :, None, :]
    cut = grid // (2 * max(1, count - 1))
    kept_along = torch.ones(count, grid, dtype=torch.bool)
    kept_along[1:, :cut] = False
    kept_along[:-1, grid - cut :] = False
    kept = kept_along[:, None, :, None] & kept_along[None, :, None, :]
    return patches.reshape(count**2, -1), kept.reshape(count**2, -1)


def embed(vit: Any, image: Tensor) -> Tensor:
    """Embed the patches of an image, row by row: (B, 3, h p, w p) -> (B, h w, C).

    As one product: convolutions of few channels have slow kernels everywhere.
    """
    layer = vit.patch_embed.proj
    size = layer.kernel_size[0]
    pixels = image.permute(0, 2, 3, 1).unflatten(2, (-1, size)).unflatten(1, (-1, size))
    patches = pixels.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, h, p, w, p, 3) -> (B, h w, 3pp)
    return F.linear(patches, layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias)


def run_block(block: Any, x: Tensor, normed: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
    """Run a timm block on tokens x (B, N, C), of which `normed` is its first norm.

    Gives its answer, and `norm` of that.
    """
    query, key, value = block.attn.qkv(normed).chunk(3, dim=-1)
    return finish_block(block, x, query, key, value, norm)


def run_block_for(block: Any, rows: Tensor, x: Tensor, norm: Any) -> Tensor:
    """Run a timm block only for `rows` (B, K, C) of tokens x (B, N, C); gives `norm` of that."""
    weights, width = block.attn.qkv, x.shape[-1]
    query = F.linear(block.norm1(rows), weights.weight[:width], weights.bias[:width])
    both = F.linear(block.norm1(x), weights.weight[width:], weights.bias[width:])
    key, value = both.chunk(2, dim=-1)
    return finish_block(block, rows, query, key, value, norm)[1]


def finish_block(
    block: Any, x: Tensor, query: Tensor, key: Tensor, value: Tensor, norm: Any
) -> tuple[Tensor, Tensor]:
    """Run a block from attention on, for tokens x that the queries are of."""
    heads = (
        part.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2)
        for part in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    x, normed = steps.add_norm(x, block.attn.proj(mixed), block.ls1.gamma, block.norm2)
    hidden = steps.linear_gelu(block.mlp.fc1, normed)
    return steps.add_norm(x, block.mlp.fc2(hidden), block.ls2.gamma, norm)


def as_map(tokens: Tensor, side: int) -> Tensor:
    """Lay patches out as an image: (B, side*side, C) -> (B, C, side, side), channels last."""
    return tokens.transpose(1, 2).unflatten(2, (side, side))
