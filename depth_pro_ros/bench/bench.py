"""The benchmark: sides alternate, precision by precision; what comes out of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from depth_pro_ros.bench.lively import lively_network
from depth_pro_ros.bench.sides import OURS, Setting, installed_rivals
from depth_pro_ros.bench.worker import Timing, Worker
from depth_pro_ros.camera import check_size
from depth_pro_ros.devices import PRECISIONS, choose_device
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import read_config, save_network
from depth_pro_ros.network.weights import find_weights

PRODUCT_SIZE = 4096
INTERRUPTED = 'interrupted'


@dataclasses.dataclass(frozen=True)
class Row:
    """One side in one precision."""

    side: str
    precision: str
    """And how it was compiled, where it was."""
    p50_s: float
    p95_s: float
    frames_per_s: float
    peak_bytes: int
    load_s: float
    warm_up_s: float
    share_of_product_rate: float
    """Operations of the unfolded network a second, over those of a plain matrix product."""
    depth_difference: tuple[float, float, float]
    """Median, 99th percentile and largest relative difference from the reference."""
    focal_difference: float


@dataclasses.dataclass(frozen=True)
class Report:
    """All rows of one run, the first being the reference, and the machine they are of."""

    machine: str
    picture: str
    network: str
    product_gflops: dict[str, float]
    rows: list[Row]
    failures: list[str]
    """What ended it before all rows were measured."""

    def markdown(self) -> str:
        """Give a table; ratios are of times, the reference being 1."""
        products = ', '.join(f'{rate:.0f} in {p}' for p, rate in self.product_gflops.items())
        lines = [
            f'{self.machine}; {self.picture}; {self.network}; a {PRODUCT_SIZE}^3 product reaches '
            f'{products} GFLOP/s.',
            '',
            '| | precision | p50 s | p95 s | frames/s | time, ratio | start s | peak memory '
            '| of product rate | depth differs by (median, 99 %, most) | focal length by |',
            '|---|---|---|---|---|---|---|---|---|---|---|',
        ]
        for row in self.rows:
            depth = ', '.join(f'{value:.1e}' for value in row.depth_difference)
            lines.append(
                f'| {row.side} | {row.precision} | {row.p50_s:.3f} | {row.p95_s:.3f} '
                f'| {row.frames_per_s:.3g} | {row.p50_s / self.rows[0].p50_s:.3f} '
                f'| {row.load_s + row.warm_up_s:.0f} | {row.peak_bytes / 1e9:.2f} GB '
                f'| {row.share_of_product_rate:.0%} | {depth} | {row.focal_difference:.1e} |'
            )
        return '\n'.join(lines)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + '\n')


def bench(
    weights: str,
    precisions: Sequence[str],
    device: str,
    size: tuple[int, int],
    rounds: int,
    memory: str = 'auto',
    compile_mode: str | None = None,
) -> Report:
    """Compare ours with every other Depth Pro that is installed.

    weights: `small`, `depth_pro` or a file, or `random` for lively random ones of the official
    size. precisions: beside fp32, whose first side is the reference of all differences.
    size: (width, height) of the picture. rounds: timed pictures a side, after untimed ones.
    compile_mode: of torch.compile, with which the others run the last precision once more.
    A side that cannot be loaded is left out; what was measured before a side failed later, or
    before an interruption, is reported all the same. Raises RuntimeError where nothing was in
    fp32, ValueError.
    """
    check_size(*size)
    target = choose_device(device)
    width, height = size
    rgb = picture(width, height)
    with tempfile.TemporaryDirectory() as folder:
        if weights == 'random':
            path = Path(folder) / 'random.safetensors'
            save_network(path, lively_network(DepthProConfig.large()), {'data': 'none: random'})
        else:
            path = find_weights(weights)
        config = read_config(path)
        flops = count_operations(config)
        rates, rows, reference = dict[str, float](), list[Row](), None
        sides, failures = [*installed_rivals(config), OURS], list[str]()
        if compile_mode and len(sides) == 1:
            raise ValueError('no other Depth Pro is here that could be compiled with these weights')
        settings = [
            Setting(path, device, precision, memory)
            for precision in dict.fromkeys(['fp32', *precisions])
        ]
        if compile_mode:
            settings.append(dataclasses.replace(settings[-1], compile_mode=compile_mode))
        try:
            for setting in settings:
                precision = setting.precision
                if precision not in rates:
                    rates[precision] = product_gflops(target, PRECISIONS[precision])
                # ours compiles what gains by it anyway
                asked = [side for side in sides if side != OURS or not setting.compile_mode]
                measured, failed = alternate(asked, rounds, setting, rgb)
                failures += failed
                if not (rows or measured):
                    raise RuntimeError('; '.join(failed))
                for worker, timings in measured:
                    reference = reference or timings[0]
                    rows.append(row(worker, timings, reference, flops / rates[precision] / 1e9))
        except (RuntimeError, KeyboardInterrupt) as error:
            if not rows:
                raise
            failures.append(str(error) or INTERRUPTED)
    return Report(
        describe_machine(target),
        f'{width}x{height} picture, {rounds} times, from host to host',
        f'weights {weights}, {flops / 1e12:.2f} TFLOP a frame unfolded',
        rates,
        rows,
        failures,
    )


def alternate(
    sides: Sequence[str], rounds: int, setting: Setting, rgb: NDArray[np.uint8]
) -> tuple[list[tuple[Worker, list[Timing]]], list[str]]:
    """Run the picture through the sides in turn, all of them loaded.

    Gives what each did, and why others could not be loaded.
    """
    measured, failures = list[tuple[Worker, list[Timing]]](), list[str]()
    with contextlib.ExitStack() as stack:
        for side in sides:
            try:
                measured.append((stack.enter_context(Worker(side, setting, rgb)), []))
            except RuntimeError as error:
                failures.append(str(error))
        for _ in tqdm(range(rounds), desc=f'{setting.arithmetic}: {" and ".join(sides)}'):
            for worker, timings in measured:
                timings.append(worker.run())
    return measured, failures


def row(worker: Worker, timings: list[Timing], reference: Timing, ideal_s: float) -> Row:
    """Sum up what one side did."""
    seconds = [timing.seconds for timing in timings]
    p50_s, last = float(np.median(seconds)), timings[-1]
    return Row(
        worker.side,
        worker.setting.arithmetic,
        p50_s,
        float(np.percentile(seconds, 95)),
        1.0 / p50_s,
        last.peak_bytes,
        worker.facts['load_s'],
        worker.facts['warm_up_s'],
        ideal_s / p50_s,
        differences(last.depth_m, reference.depth_m),
        abs(last.focal_px / reference.focal_px - 1.0),
    )


def differences(
    ours: NDArray[np.floating], theirs: NDArray[np.floating]
) -> tuple[float, float, float]:
    """Give median, 99th percentile and most of how far depth differs, as a share of `theirs`."""
    with np.errstate(invalid='ignore'):
        difference = np.abs(ours - theirs.astype(np.float64)) / theirs
    median, high, most = np.percentile(difference[np.isfinite(difference)], [50, 99, 100])
    return float(median), float(high), float(most)


def count_operations(config: DepthProConfig) -> int:
    """Count the floating-point operations of a frame through the unfolded network."""
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        network = DepthPro(config).eval()
        network(torch.empty(1, 3, config.image_size, config.image_size))
    return counter.get_total_flops()


def product_gflops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the rate of a large matrix product."""
    a = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device, dtype=dtype)
    best, together = float('inf'), 20 if device.type == 'cuda' else 1
    for _ in range(4):
        began = time.perf_counter()
        for _ in range(together):
            product = a @ a
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - began)
    return together * 2 * PRODUCT_SIZE**3 / best / 1e9


def picture(width: int, height: int) -> NDArray[np.uint8]:
    """Give a picture with coarse and fine structure, always the same."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [
        np.sin(2 * np.pi * (a * x[..., None] + b * y[..., None]) + phase)
        for a, b, phase in zip(*rng.uniform(-9, 9, (2, 6, 3)), rng.uniform(0, 6, (6, 3)))
    ]
    values = 128 + 20 * sum(waves) + rng.normal(0, 4, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def describe_machine(device: torch.device) -> str:
    """Name the processor, its threads and the libraries."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        cpu = next((x.partition(': ')[2] for x in lines if x.startswith('model name')), cpu)
    name = f'{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads'
    if device.type == 'cuda':
        name = f'{torch.cuda.get_device_name(device)} with {name}'
    return f'{name}, torch {torch.__version__}'
