"""The training loop: DINOv2 start, coarse-to-fine stages, one linear pass through each."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import load_network, save_network
from depth_pro_ros.training import losses
from depth_pro_ros.training.dinov2 import load_backbone
from depth_pro_ros.training.frames import Batch, Frames, augment, collate
from depth_pro_ros.training.measure import by_constants, by_network, measure
from depth_pro_ros.training.progressive import (
    FULL,
    GLOBAL,
    forward_levels,
    output_px,
    start_as_upsampling,
)

CLIP_NORM = 1.0
EMA_DECAY = 0.998
MEAN_C, MEAN_FOV_DEG = 0.38, 64.0


@dataclass(frozen=True)
class Stage:
    """How long and how fast to train which levels of the network.

    encoder_rate 0 freezes the ViT, which then costs only its forward pass.
    """

    levels: int
    steps: int
    batch: int
    rate: float
    encoder_rate: float


STAGES = (
    Stage(GLOBAL, steps=1100, batch=24, rate=1e-3, encoder_rate=1e-4),
    Stage(FULL, steps=700, batch=2, rate=5e-4, encoder_rate=0.0),
)
"""What the shipped weights had; more steps of each are the first thing to try."""


class AugmentedBatches(IterableDataset):
    """Endless random batches of augmented frames for one stage."""

    def __init__(self, frames: Frames, stage: Stage, input_px: int, target_px: int, seed: int):
        self.frames, self.stage, self.seed = frames, stage, seed
        self.input_px, self.target_px = input_px, target_px

    def __iter__(self):
        rng = np.random.default_rng(self.seed)
        while True:
            drawn = rng.integers(len(self.frames), size=self.stage.batch)
            views = [augment(self.frames[i], rng) for i in drawn]
            yield collate(views, self.input_px, self.target_px)


def train(
    data: Path,
    output: Path,
    held_out: Path,
    seed: int = 0,
    stages: tuple[Stage, ...] = STAGES,
    config: DepthProConfig | None = None,
    start: Path | None = None,
    pretrained: bool = True,
) -> DepthPro:
    """Train a network on the frames of `data` and write it to `output` (safetensors).

    held_out: frames of other rooms; measured after every stage, beside two blind baselines.
    start: go on from these weights instead of DINOv2's. After every stage the averaged weights
    are written to `output`, and `metrics.jsonl` beside it grows by a line each ten steps.
    """
    torch.manual_seed(seed)
    frames, unseen = Frames(data), Frames(held_out)
    network = load_network(start).float() if start else DepthPro(config or DepthProConfig.small())
    network.requires_grad_(True).train()
    if not start:
        start_as_upsampling(network, MEAN_C, MEAN_FOV_DEG)
        if pretrained:
            load_backbone(network)
    log = output.with_name('metrics.jsonl').open('a')
    input_px = network.config.image_size
    record: dict[str, Any] = {'seed': seed, 'frames': len(frames), 'stages': [], 'baselines': {}}
    for name, predict in by_constants(frames).items():
        record['baselines'][name] = measure(predict, unseen, input_px)
        _write(log, {'baseline': name, **record['baselines'][name]})

    for number, stage in enumerate(stages):
        began = time.monotonic()
        train_stage(network, frames, stage, seed + number, log)
        save_network(output, network, record)  # measuring takes minutes: keep what there is
        network.eval()
        result = measure(by_network(network, stage.levels), unseen, input_px)
        network.train()
        took = {'minutes': round((time.monotonic() - began) / 60, 1)}
        record['stages'].append({**asdict(stage), **took, 'held_out': result})
        _write(log, {'stage': number, **took, **result})
        save_network(output, network, record)
    return network


def train_stage(network: DepthPro, frames: Frames, stage: Stage, seed: int, log) -> None:
    """Run one stage; the network ends with the running average of its weights."""
    encoder = list(network.encoder.patch_encoder.parameters())
    known = {id(p) for p in encoder}
    others = [p for p in network.parameters() if id(p) not in known]
    for parameter in encoder:
        parameter.requires_grad_(stage.encoder_rate > 0)
    optimizer = torch.optim.AdamW(
        [
            {'params': encoder, 'peak': stage.encoder_rate, 'weight_decay': 0.01},
            {'params': others, 'peak': stage.rate, 'weight_decay': 1e-4},
        ],
        betas=(0.9, 0.98),
    )
    average = [p.detach().clone() for p in network.parameters()]
    size = network.config.image_size, output_px(network, stage.levels)
    batches = DataLoader(
        AugmentedBatches(frames, stage, *size, seed), batch_size=None, num_workers=1
    )

    progress = tqdm(zip(range(stage.steps), batches, strict=False), total=stage.steps)
    for step, batch in progress:
        for group in optimizer.param_groups:
            group['lr'] = group['peak'] * schedule(step, stage.steps)
        loss, parts = compute_loss(network, batch, stage.levels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        if torch.isfinite(norm):
            optimizer.step()
        decay = min(EMA_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(average, list(network.parameters()), 1 - decay)
        if step % 10 == 0:
            rate = optimizer.param_groups[1]['lr']
            progress.set_postfix(loss=f'{loss.item():.3f}', rate=f'{rate:.1e}')
            _write(log, {'levels': stage.levels, 'step': step, 'rate': rate, **parts})
    with torch.no_grad():
        for parameter, mean in zip(network.parameters(), average, strict=True):
            parameter.copy_(mean)


def compute_loss(network: DepthPro, batch: Batch, levels: int) -> tuple[Tensor, dict[str, float]]:
    """MAE and relative error on C, gradients at the full output only, and field of view."""
    with torch.autocast('cpu', dtype=torch.bfloat16):
        answer = forward_levels(network, batch.image, levels)
    assert answer.fov_deg is not None
    c, target = answer.inverse_depth.float(), batch.inverse_depth
    parts = {
        'mae': losses.mean_absolute_error(c, target),
        'relative': losses.relative_error(c, target),
        'fov': 1e-3 * losses.fov_error(answer.fov_deg.float(), batch.fov_deg),
    }
    if levels == FULL:
        parts['gradient'] = 5 * losses.gradient_error(c, target)
        parts['ssi_gradient'] = losses.scale_shift_invariant_gradient_error(c, target)
    return torch.stack(list(parts.values())).sum(), {
        name: round(p.item(), 5) for name, p in parts.items()
    }


def schedule(step: int, steps: int, warm_up: float = 0.04, decay: float = 0.35) -> float:
    """Factor on the learning rate: linear warm-up, constant, linear decay to a fiftieth."""
    rise = (step + 1) / max(1, warm_up * steps)
    fall = 0.02 + 0.98 * (steps - step) / max(1, decay * steps)
    return min(1.0, rise, fall)


def _write(log, entry: dict) -> None:
    log.write(json.dumps(entry) + '\n')
    log.flush()
