"""A timm ViT that returns its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from depth_pro_ros.network.config import DepthProConfig


class TokenViT(VisionTransformer):
    """DINOv2's ViT (LayerScale, LayerNorm eps 1e-6, qkv bias) without a classification head."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__(
            img_size=config.tile_size,
            patch_size=config.patch_size,
            embed_dim=config.vit_width,
            depth=config.vit_depth,
            num_heads=config.vit_heads,
            init_values=1e-5,
            num_classes=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )

    def forward(  # type: ignore[override]
        self, x: Tensor, blocks: Sequence[int] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Give the normed last tokens and the raw tokens after each of `blocks`.

        x: (B, 3, T, T) tiles. Every returned tensor is (B, 1 + g*g, C), the class token first.
        """
        x = self._pos_embed(self.patch_embed(x))  # (B, 3, T, T) -> (B, 1 + g*g, C)
        taken = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in blocks:
                taken.append(x)
        return self.norm(x), taken


def tokens_to_map(tokens: Tensor, grid: int) -> Tensor:
    """Lay patch tokens out as an image, without the class token: (B, 1+g*g, C) -> (B, C, g, g)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
