"""The field-of-view head."""

from __future__ import annotations

from torch import Tensor, nn

from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.decoder import conv_float32
from depth_pro_ros.network.encoder import Encoding
from depth_pro_ros.network.vit import TokenViT, tokens_to_map


class FovHead(nn.Module):
    """Estimates the horizontal field of view from image tokens and a depth feature (section 3.3).

    With a shared ViT the tokens are the encoder's, and `encoder.0` holds no weights.
    """

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        dim = config.decoder_dim // 2
        self.grid = config.grid
        vit = nn.Identity() if config.share_vit else TokenViT(config)
        self.encoder = nn.ModuleList([vit, nn.Linear(config.vit_width, dim)])
        self.downsample = nn.Sequential(
            nn.Conv2d(config.decoder_dim, dim, 3, stride=2, padding=1), nn.ReLU()
        )
        self.head = nn.ModuleList(
            [
                nn.Conv2d(dim, dim // 2, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(dim // 2, dim // 4, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(dim // 4, 1, config.grid // 4),
            ]
        )

    def look(self, encoding: Encoding) -> Tensor:
        """Give the map of the whole image (B, C, g, g) that `forward` takes."""
        vit = self.encoder[0]
        if isinstance(vit, TokenViT):
            tokens, _ = vit(encoding.image)
        else:
            tokens = encoding.image_tokens
        return tokens_to_map(tokens, self.grid)

    def forward(self, seen: Tensor, lowest: Tensor) -> Tensor:
        """Whole image (B, C, g, g), coarsest decoder feature (B, D, 2g, 2g) -> degrees (B,)."""
        projected = self.encoder[1](seen.movedim(1, -1)).movedim(-1, 1)
        x = self.downsample(lowest) + projected
        *layers, last = self.head
        for layer in layers:
            x = layer(x)
        return conv_float32(last, x).flatten()
