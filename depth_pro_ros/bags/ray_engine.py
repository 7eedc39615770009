"""Many bags on the machines of a Ray cluster: one network a worker, one bag at a time each.

Bags and weights must have the same paths on every machine.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from tqdm import tqdm

from depth_pro_ros.bags.convert import convert_bag
from depth_pro_ros.bags.jobs import Job
from depth_pro_ros.bags.options import BagError, BagOptions, ModelChoice
from depth_pro_ros.bags.writing import check_is_free, remove_unfinished
from depth_pro_ros.network.weights import NAMES

TRIES = 3
"""How often a bag is begun at most, whether its worker dies or reports a failure."""


class Outcome(NamedTuple):
    """What became of a bag."""

    done: str | None
    """A line about the bag that was made; None: there is none."""
    failure: str | None = None
    """Why there is no bag, or what is missing in it."""


class BagWorker:
    """An actor with a network of its own."""

    def __init__(self, options: BagOptions, model: ModelChoice, share: int) -> None:
        """Take how many workers share this machine's CPU."""
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))
        self._options = options
        self._load = functools.cache(model.load)

    def convert(self, job: Job) -> Outcome:
        """Convert a bag. Raises what loading weights raises."""
        try:
            made = convert_bag(job.source, job.output, self._options, self._load, progress=False)
        except BagError as error:
            return Outcome(None, str(error))
        return Outcome(str(made), made.failure())


def convert_on_ray(
    jobs: Sequence[Job], options: BagOptions, model: ModelChoice, workers: int | None = None
) -> list[str]:
    """Convert bags side by side; gives a message for each that failed TRIES times.

    workers: how many at a time; None: one for each GPU of the cluster, or one for each machine
    where it has none, or `model.device` is cpu. Joins the cluster of RAY_ADDRESS, or starts one on
    this machine. A worker that dies is replaced, and its bag begun again unless it is whole. Raises
    BagError where a bag exists already.
    """
    for job in jobs:
        check_is_free(job.output)
    if not jobs:
        return []
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    absolute = [Job(job.source.resolve(), job.output.resolve()) for job in jobs]
    if model.weights not in NAMES:
        model = dataclasses.replace(model, weights=str(Path(model.weights).resolve()))
    try:
        start, count = plan_workers(options, model, workers, len(jobs))
        return run_jobs(absolute, start, count)
    finally:
        if began:
            ray.shutdown()
        for job in absolute:  # a worker that is ended cleans nothing up
            remove_unfinished(job.output)


def plan_workers(
    options: BagOptions, model: ModelChoice, workers: int | None, jobs: int
) -> tuple[Callable[[], Any], int]:
    """Give what starts a worker, and how many are asked for, have room, and find a bag to do."""
    resources = ray.cluster_resources()
    machines = sum(node['Alive'] for node in ray.nodes())
    gpus = 0 if model.device == 'cpu' else int(resources.get('GPU', 0))
    room = gpus or int(resources.get('CPU', 1))
    count = min(workers or gpus or machines, room, jobs)
    share = math.ceil(count / machines)
    # no restarts and no retries by Ray, which would multiply with those of `run_jobs`
    actor = ray.remote(BagWorker).options(
        num_cpus=1, num_gpus=1 if gpus else 0, scheduling_strategy='SPREAD'
    )
    return lambda: actor.remote(options, model, share), count


def run_jobs(jobs: Sequence[Job], start: Callable[[], Any], count: int) -> list[str]:
    """Keep `count` workers busy until all bags are done or have failed TRIES times."""
    waiting = collections.deque(jobs)
    tries: collections.Counter[Job] = collections.Counter()
    running: dict[Any, tuple[Any, Job]] = {}
    idle = [start() for _ in range(count)]
    failures = []
    with tqdm(total=len(jobs), unit='bag') as bar:
        while waiting or running:
            while waiting and idle:
                worker, job = idle.pop(), waiting.popleft()
                tries[job] += 1
                running[worker.convert.remote(job)] = worker, job
            (answer, *_), _ = ray.wait(list(running), num_returns=1)
            worker, job = running.pop(answer)
            try:
                outcome = result(answer)
            except RayError as error:
                outcome = lost(job, error)
                worker = start()
            idle.insert(0, worker)  # another one tries again what failed
            if outcome.done is None and tries[job] < TRIES:
                waiting.append(job)
                continue
            if outcome.done is not None:
                bar.write(outcome.done)
            if outcome.failure is not None:
                failures.append(outcome.failure)
            bar.update()
    return failures


def result(reference: Any) -> Outcome:
    """Give what a worker answers. Raises RayError where it is lost, and what its task raises."""
    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except RayTaskError as error:
        raise error.cause from None  # without the stack of the worker


def lost(job: Job, error: RayError) -> Outcome:
    """Give what became of the bag of a lost worker: it has its name once it is whole."""
    if job.output.exists():
        return Outcome(f'{job.output}: complete; its worker was lost before it could tell of it')
    return Outcome(None, f'{job.source}: a worker was lost: {str(error).splitlines()[0]}')
