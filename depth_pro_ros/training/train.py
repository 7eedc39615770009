"""The training loop: one linear pass through each stage, resumable at any step."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from depth_pro_ros.devices import cpu_prefers_bf16, keep_memory, precision_name
from depth_pro_ros.images import write_aside
from depth_pro_ros.network import DepthPro
from depth_pro_ros.network.checkpoint import save_network
from depth_pro_ros.training.frames import Batch, Frames, augment, collate
from depth_pro_ros.training.measure import by_constants, by_network, measure
from depth_pro_ros.training.stages import STAGES, Stage, stage_losses, trained_parameters

CLIP_NORM = 1.0
EMA_DECAY = 0.998
SAVE_SECONDS, LOG_STEPS = 120, 10


class Batches(IterableDataset):
    """Endless augmented batches; the one of a step depends on seed, stage and step alone."""

    def __init__(self, frames: Frames, stage: Stage, network: DepthPro, seed: int, first: int):
        self.frames, self.stage, self.seed, self.first = frames, stage, seed, first
        self.config = network.config

    def __iter__(self) -> Iterator[Batch]:
        step, number = self.first, list(STAGES).index(self.stage.name)
        while True:
            rng = np.random.default_rng([self.seed, number, step])
            views = [augment(self.frames.draw(rng), rng) for _ in range(self.stage.batch)]
            yield collate(views, self.config, self.config.answer_size)
            step += 1


def train(
    network: DepthPro,
    frames: Frames,
    held_out: Frames,
    output: Path,
    stages: Sequence[Stage] = tuple(STAGES.values()),
    seed: int = 0,
    origin: dict[str, Any] | None = None,
) -> DepthPro:
    """Train a network on `frames` and write it to `output` (safetensors), with a record of it.

    held_out: frames of other rooms; measured after every stage, beside two blind baselines.
    origin: what else the record should tell, such as where data and first weights come from.
    OUTPUT.metrics.jsonl grows by a line every ten steps, with their mean losses. A run that was
    cut off goes on from OUTPUT.state, which a finished run removes. Raises ValueError.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    keep_memory()
    network = network.float().train().to(device)
    path, metrics = output.with_suffix('.state'), output.with_suffix('.metrics.jsonl')
    plan = {
        **(origin or {}),
        'config': json.loads(json.dumps(asdict(network.config))),
        'seed': seed,
        'frames': len(frames),
        'stages': [asdict(stage) for stage in stages],
    }
    saved = load_state(path, plan)
    with metrics.open('r+' if saved else 'w') as log:
        if saved:
            network.load_state_dict(saved['network'])
            record = saved['record']
            log.seek(saved['log'])
            log.truncate()  # what came after the state was saved comes again
        else:
            blind = by_constants(frames).items()
            baselines = {name: measure(p, held_out, network.config) for name, p in blind}
            record = {**plan, 'stages': [], 'baselines': baselines}
            write_line(log, {'baselines': baselines})
        for number in range(saved.get('number', 0), len(stages)):
            stage, began = stages[number], time.monotonic() - saved.get('seconds', 0)

            def save(number: int = number, began: float = began, **loop: Any) -> None:
                seconds = time.monotonic() - began
                where = {'number': number, 'seconds': seconds, 'log': log.tell()}
                network_state = network.state_dict()
                state = {'plan': plan, 'record': record, 'network': network_state, **where, **loop}
                write_aside(path, lambda aside: torch.save(state, aside))

            train_stage(network, frames, stage, seed, log, save, saved)
            saved = {}
            save_network(output, network, record)  # measuring takes minutes: keep what there is
            result = measure(by_network(network), held_out, network.config)
            minutes = round((time.monotonic() - began) / 60, 1)
            done = {**asdict(stage), 'precision': precision_name(training_dtype(device))}
            record['stages'].append({**done, 'minutes': minutes, 'held_out': result})
            write_line(log, {'stage': stage.name, 'minutes': minutes, **result})
            save_network(output, network, record)
            save(number=number + 1, began=time.monotonic())
    path.unlink(missing_ok=True)
    return network


def train_stage(
    network: DepthPro,
    frames: Frames,
    stage: Stage,
    seed: int,
    log: TextIO,
    save: Callable[..., None],
    saved: dict[str, Any],
) -> None:
    """Run one stage, from the saved step on; the network ends as the running average of itself."""
    encoder, others = trained_parameters(network, stage)
    optimizer = torch.optim.AdamW(
        [
            {'params': encoder, 'peak': stage.encoder_rate, 'weight_decay': 0.01},
            {'params': others, 'peak': stage.rate, 'weight_decay': 1e-4},
        ],
        betas=(0.9, 0.98),
    )
    trained: list[Tensor] = [*encoder, *others]
    average = [p.detach().clone() for p in trained]
    first = 0
    if 'optimizer' in saved:
        optimizer.load_state_dict(saved['optimizer'])
        average = [mean.to(p.device) for mean, p in zip(saved['average'], trained, strict=True)]
        first = saved['step']
    batches = DataLoader(
        Batches(frames, stage, network, seed, first), batch_size=None, num_workers=1
    )
    last_save, recent = time.monotonic(), list[dict[str, float]]()
    steps = tqdm(range(first, stage.steps), initial=first, total=stage.steps, desc=stage.name)
    for step, batch in zip(steps, batches, strict=False):
        for group in optimizer.param_groups:
            group['lr'] = group['peak'] * schedule(step, stage.steps)
        loss, parts = compute_loss(network, batch, stage)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
        if torch.isfinite(norm):
            optimizer.step()
        with torch.no_grad():
            decay = min(EMA_DECAY, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, trained, 1 - decay)
        recent.append({'loss': loss.item(), **parts})
        if (step + 1) % LOG_STEPS == 0:
            means = mean_losses(recent)
            steps.set_postfix(loss=f'{means["loss"]:.3f}')
            write_line(log, {'stage': stage.name, 'step': step + 1, **means})
            recent.clear()
        if time.monotonic() - last_save > SAVE_SECONDS:
            save(step=step + 1, optimizer=optimizer.state_dict(), average=average)
            last_save, recent = time.monotonic(), list[dict[str, float]]()
    with torch.no_grad():
        for parameter, mean in zip(trained, average, strict=True):
            parameter.copy_(mean)


def mean_losses(recent: Sequence[dict[str, float]]) -> dict[str, float]:
    """Give the mean of each loss over the steps that had it: edges take exact depth."""
    names = dict.fromkeys(name for each in recent for name in each)
    found = {name: [each[name] for each in recent if name in each] for name in names}
    return {name: round(sum(values) / len(values), 5) for name, values in found.items()}


def compute_loss(network: DepthPro, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
    """Give the sum of the stage's losses, and each one's value; in bf16 where that is faster."""
    device = next(network.parameters()).device
    batch, dtype = batch.to(device), training_dtype(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        answer = network(batch.network_input(), need_fov=stage.learns_fov)
    parts = stage_losses(stage, answer, batch.inverse_depth, batch.fov_deg, batch.exact)
    return torch.stack(list(parts.values())).sum(), {n: part.item() for n, part in parts.items()}


def training_dtype(device: torch.device) -> torch.dtype:
    """Give the arithmetic of the network's products while it learns."""
    return torch.bfloat16 if device.type == 'cuda' or cpu_prefers_bf16() else torch.float32


def schedule(step: int, steps: int, warm_up: float = 0.04, decay: float = 0.35) -> float:
    """Factor on the learning rate: linear warm-up, constant, linear decay to a fiftieth."""
    rise = (step + 1) / max(1, warm_up * steps)
    fall = 0.02 + 0.98 * (steps - step) / max(1, decay * steps)
    return min(1.0, rise, fall)


def load_state(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Read where a run stood, {} if there is nothing; ValueError where it was another run."""
    if not path.exists():
        return {}
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location='cpu')
    if state['plan'] != plan:
        raise ValueError(
            f'{path} belongs to another command; '
            'repeat that command to go on with it, or delete the file to begin anew'
        )
    return state


def write_line(log: TextIO, entry: dict[str, Any]) -> None:
    """Append an entry to the metrics, at once."""
    log.write(json.dumps(entry) + '\n')
    log.flush()
