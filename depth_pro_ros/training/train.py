"""The training loop: one linear pass through each stage, resumable at any step."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from depth_pro_ros.devices import cpu_prefers_bf16, keep_memory, precision_name
from depth_pro_ros.images import write_aside
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import save_network
from depth_pro_ros.training.frames import Batch, Frames, augment, collate
from depth_pro_ros.training.measure import FAR_M, NEAR_M, by_constants, by_network, measure
from depth_pro_ros.training.stages import STAGES, Stage, stage_losses, trained_parameters

CLIP_NORM = 1.0
EMA_DECAY = 0.998
MOST_SKIPPED = 100
"""Steps in a row whose gradients are not finite, after which training is given up."""
SAVE_SECONDS, LOG_STEPS = 120, 10
SAVE_RATIO = 20
"""Between two saves there is at least so many times what the last one took."""


def batches(
    frames: Frames, stage: Stage, config: DepthProConfig, seed: int, first: int
) -> Iterator[Batch]:
    """Give endless augmented batches; the one of a step depends on seed, stage and step alone.

    A thread makes the next one meanwhile: a process would have frames of its own in memory, and
    hand batches over through /dev/shm, which is small in a container.
    """
    number = list(STAGES).index(stage.name)

    def draw(step: int) -> Batch:
        rng = np.random.default_rng([seed, number, step])
        views = [augment(frames.draw(rng), rng) for _ in range(stage.batch)]
        return collate(views, config, config.answer_size)

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(draw, first)
        for step in itertools.count(first + 1):
            batch, waiting = waiting.result(), thread.submit(draw, step)
            yield batch


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
    OUTPUT.metrics.jsonl grows by a line every ten steps, with their mean losses and which share of
    them was skipped. A run that was cut off goes on from OUTPUT.state, which a finished run
    removes. Raises ValueError.
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
            found = {name: measure(p, held_out, network.config) for name, p in blind}
            baselines = {name: figures for name, figures in found.items() if figures}
            if not baselines:
                tqdm.write(f'not measured: no held-out depth is of {NEAR_M} to {FAR_M:.0f} m')
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
    """Run one stage, from the saved step on; the network ends as the running average of itself.

    What Ctrl-C ends is saved, unless it comes in the moment in which the weights change.
    """
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
    done, recent, settled = 0, list[dict[str, float]](), True
    if 'optimizer' in saved:
        optimizer.load_state_dict(saved['optimizer'])
        average = [mean.to(p.device) for mean, p in zip(saved['average'], trained, strict=True)]
        done, recent = saved['step'], saved['recent']

    def save_steps() -> float:
        """Save where the stage stands, and give the time to do that again."""
        began = time.monotonic()
        save(step=done, optimizer=optimizer.state_dict(), average=average, recent=recent)
        ended = time.monotonic()
        return ended + max(SAVE_SECONDS, SAVE_RATIO * (ended - began))

    next_save, skipped = time.monotonic() + SAVE_SECONDS, 0
    steps = tqdm(range(done, stage.steps), initial=done, total=stage.steps, desc=stage.name)
    ahead = batches(frames, stage, network.config, seed, done)
    try:
        for step, batch in zip(steps, ahead, strict=False):
            for group in optimizer.param_groups:
                group['lr'] = group['peak'] * schedule(step, stage.steps)
            optimizer.zero_grad(set_to_none=True)
            losses = find_gradients(network, batch, stage, trained)
            skipped = skipped + 1 if losses['skipped'] else 0
            if skipped == MOST_SKIPPED:
                raise ValueError(
                    f'nothing was learned in {skipped} steps in a row, as their gradients were not '
                    'finite: delete the .state and begin anew with a lower --rate'
                )
            settled = False
            if not skipped:
                optimizer.step()
            with torch.no_grad():
                decay = min(EMA_DECAY, (step + 1) / (step + 10))
                torch._foreach_lerp_(average, trained, 1 - decay)
            recent.append(losses)
            done = step + 1
            if done % LOG_STEPS == 0:
                means = mean_losses(recent)
                steps.set_postfix(loss=f'{means["loss"]:.3f}', skipped=f'{means["skipped"]:.0%}')
                write_line(log, {'stage': stage.name, 'step': done, **means})
                recent.clear()
            settled = True
            if time.monotonic() > next_save or done == stage.steps:
                next_save = save_steps()
    except KeyboardInterrupt:
        if settled:
            save_steps()
        raise
    with torch.no_grad():
        for parameter, mean in zip(trained, average, strict=True):
            parameter.copy_(mean)


def find_gradients(
    network: DepthPro, batch: Batch, stage: Stage, trained: Sequence[Tensor]
) -> dict[str, float]:
    """Give the losses of a batch, and leave their gradients, clipped, in the parameters.

    skipped: 1 where these are not finite, which nothing can be learned from; else 0.
    """
    loss, parts = compute_loss(network, batch, stage)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
    return {'loss': loss.item(), **parts, 'skipped': float(not torch.isfinite(norm))}


def mean_losses(recent: Sequence[dict[str, float]]) -> dict[str, float]:
    """Give the mean of each loss over the steps that had it: edges take exact depth."""
    names = dict.fromkeys(name for each in recent for name in each)
    found = {name: [each[name] for each in recent if name in each] for name in names}
    return {name: round(sum(values) / len(values), 5) for name, values in found.items()}


def compute_loss(network: DepthPro, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
    """Give the sum of the stage's losses, and each one's value; in bf16 where that is faster."""
    device = next(network.parameters()).device
    batch = batch.to(device)
    with autocast(device):
        answer = network(batch.network_input(), need_fov=stage.learns_fov)
    parts = stage_losses(stage, answer, batch.inverse_depth, batch.fov_deg, batch.exact)
    return torch.stack(list(parts.values())).sum(), {n: part.item() for n, part in parts.items()}


def training_dtype(device: torch.device) -> torch.dtype:
    """Give the arithmetic of the network's products while it learns, or teaches."""
    return torch.bfloat16 if device.type == 'cuda' or cpu_prefers_bf16() else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Give the context in which a network of float32 computes in that arithmetic."""
    enabled = training_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def schedule(step: int, steps: int, warm_up: float = 0.04, decay: float = 0.35) -> float:
    """Factor on the learning rate: linear warm-up, constant, linear decay to a fiftieth."""
    rise = (step + 1) / max(1, warm_up * steps)
    fall = 0.02 + 0.98 * (steps - step) / max(1, decay * steps)
    return min(1.0, rise, fall)


def load_state(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Read where a run stood, {} if there is nothing; ValueError where it was another run."""
    if not path.exists():
        return {}
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location='cpu')
        same = state['plan'] == plan
    except Exception as error:  # torch has a dozen kinds for damage
        told = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise ValueError(f'{path} cannot be read ({told}): delete it to begin anew') from error
    if not same:
        raise ValueError(
            f'{path} belongs to another command; '
            'repeat that command to go on with it, or delete the file to begin anew'
        )
    return state


def write_line(log: TextIO, entry: dict[str, Any]) -> None:
    """Append an entry to the metrics, at once."""
    log.write(json.dumps(entry) + '\n')
    log.flush()
