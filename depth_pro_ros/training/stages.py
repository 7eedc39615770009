"""What is trained in which order, and with which losses (arXiv 2410.02073, section 3.2 and 3.3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_pro_ros.network import DepthPro, DepthProOutput
from depth_pro_ros.network.vit import TokenViT
from depth_pro_ros.training import losses

COARSEST_PX, LEAST_SCALES = 48, 4
"""The losses of edges go down to answers of this size, as the paper's six scales do at 1536."""


@dataclass(frozen=True)
class Stage:
    """How long and how fast to train.

    encoder_rate: learning rate of the ViTs; 0 freezes them, which saves the way back.
    """

    name: str
    steps: int
    batch: int
    rate: float
    encoder_rate: float

    @property
    def learns_fov(self) -> bool:
        """Whether a loss asks for the field of view."""
        return self.name != '2'


STAGES = {
    stage.name: stage
    for stage in (
        Stage('1', steps=2000, batch=12, rate=1e-3, encoder_rate=3e-5),
        Stage('2', steps=300, batch=12, rate=2e-4, encoder_rate=6e-6),
        Stage('fov', steps=300, batch=12, rate=1e-3, encoder_rate=3e-5),
    )
}
"""In this order: the paper's two stages, first shape and scale, then edges; and its field-of-view
stage, which leaves depth as it is."""


def choose(
    names: Sequence[str],
    steps: int | None,
    batch: int | None,
    rate: float | None,
    tiles: int = 1,
    freeze_vit: bool = False,
) -> tuple[Stage, ...]:
    """Give stages by their names, in the order of training, with what is not None changed.

    tiles: of a picture in the network; where there are many, a stage's own batch is smaller.
    """
    stages = [stage for name, stage in STAGES.items() if name in names]
    return tuple(
        replace(
            stage,
            steps=steps or stage.steps,
            batch=batch or max(1, stage.batch // tiles),
            rate=rate or stage.rate,
            encoder_rate=0.0
            if freeze_vit
            else stage.encoder_rate * (rate or stage.rate) / stage.rate,
        )
        for stage in stages
    )


def trained_parameters(network: DepthPro, stage: Stage) -> tuple[list[nn.Parameter], ...]:
    """Give the parameters with the ViT's rate and those with the full one; freeze all others."""
    part = network.fov if stage.name == 'fov' else network
    modules = (module for module in part.modules() if isinstance(module, TokenViT))
    vits = {parameter for module in modules for parameter in module.parameters()}
    encoder = [p for p in part.parameters() if p in vits and stage.encoder_rate]
    others = [parameter for parameter in part.parameters() if parameter not in vits]
    network.requires_grad_(False)
    for parameter in encoder + others:
        parameter.requires_grad_(True)
    return encoder, others


def stage_losses(
    stage: Stage, answer: DepthProOutput, target: Tensor, fov_deg: Tensor, exact: Tensor
) -> dict[str, Tensor]:
    """Give the stage's weighted losses; target: canonical inverse depth (B, 1, S, S), NaN unknown.

    Of pictures whose depth is not exact, (B,) bool, the worst fifth of the pixels is not believed,
    and their edges are not learned from (section 3.2).
    """
    c = answer.inverse_depth.float()
    scales = max(LEAST_SCALES, round(math.log2(c.shape[-1] / COARSEST_PX)) + 1)
    keep = torch.where(exact, 1.0, 0.8)
    parts = {}
    if answer.fov_deg is not None:
        parts['fov'] = 1e-3 * F.mse_loss(answer.fov_deg.float(), fov_deg)  # section 3.3
    if stage.name == 'fov':
        return parts
    parts['mae'] = losses.trimmed_absolute_error(c, target, keep)
    parts['log'] = losses.log_error(c, target, keep)
    if exact.any():
        c, target = c[exact], target[exact]
        if stage.name == '1':
            parts['ssi_mage'] = losses.scale_shift_invariant_gradient_error(c, target, scales)
        else:
            parts['mse'] = F.mse_loss(c, target)
            parts['mage'] = 5 * losses.gradient_error(c, target, scales)
            parts['male'] = 5 * losses.laplace_error(c, target, scales)
            parts['msge'] = 5 * losses.squared_gradient_error(c, target, scales)
    return parts
