"""Many bags on the machines of a Ray cluster: one network a worker, one bag at a time each.

Bags and weights must have the same paths on every machine.
"""

from __future__ import annotations

import collections
import functools
import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from tqdm import tqdm

from depth_pro_ros.bags.convert import BagReport, convert_bag
from depth_pro_ros.bags.jobs import Job
from depth_pro_ros.bags.options import BagError, BagOptions, ModelChoice
from depth_pro_ros.bags.writing import remove_unfinished

TRIES = 3
"""How often a bag is begun at most, whether its worker dies or reports a failure."""


class BagWorker:
    """An actor with a network of its own."""

    def __init__(self, options: BagOptions, model: ModelChoice, share: int) -> None:
        """Take how many workers share this machine's CPU."""
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))
        self._options = options
        self._load = functools.cache(model.load)

    def convert(self, job: Job) -> BagReport | str:
        """Convert a bag; gives a message where that fails. Raises what loading weights raises."""
        try:
            return convert_bag(job.source, job.output, self._options, self._load, progress=False)
        except BagError as error:
            return str(error)


def convert_on_ray(
    jobs: Sequence[Job], options: BagOptions, model: ModelChoice, workers: int | None = None
) -> list[str]:
    """Convert bags side by side; gives a message for each that failed TRIES times.

    workers: how many at a time; None: one for each GPU of the cluster, or one for each machine
    where it has none, or `model.device` is cpu. Joins the cluster of RAY_ADDRESS, or starts one on
    this machine. A worker that dies is replaced, and its bag begun again.
    """
    if not jobs:
        return []
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    absolute = [Job(job.source.resolve(), job.output.resolve()) for job in jobs]
    try:
        pool = start_workers(options, model, workers, len(jobs))
        return run_jobs(absolute, pool)
    finally:
        if began:
            ray.shutdown()
        for job in absolute:  # a worker that is ended cleans nothing up
            remove_unfinished(job.output)


def start_workers(
    options: BagOptions, model: ModelChoice, workers: int | None, jobs: int
) -> list[Any]:
    """Start as many workers as are asked for, there is room for, and there are bags for."""
    resources = ray.cluster_resources()
    machines = sum(node['Alive'] for node in ray.nodes())
    gpus = 0 if model.device == 'cpu' else int(resources.get('GPU', 0))
    room = gpus or int(resources.get('CPU', 1))
    count = min(workers or gpus or machines, room, jobs)
    actor = ray.remote(BagWorker).options(
        num_cpus=1,
        num_gpus=1 if gpus else 0,
        scheduling_strategy='SPREAD',
        max_restarts=-1,
        max_task_retries=TRIES - 1,
    )
    share = math.ceil(count / machines)
    return [actor.remote(options, model, share) for _ in range(count)]


def run_jobs(jobs: Sequence[Job], pool: list[Any]) -> list[str]:
    """Keep every worker busy until all bags are done or have failed TRIES times."""
    waiting = collections.deque(jobs)
    tries: collections.Counter[Job] = collections.Counter()
    running: dict[Any, tuple[Any, Job]] = {}
    idle = list(pool)
    failures = []
    with tqdm(total=len(jobs), unit='bag') as bar:
        while waiting or running:
            while waiting and idle:
                worker, job = idle.pop(), waiting.popleft()
                running[worker.convert.remote(job)] = worker, job
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            worker, job = running.pop(done)
            idle.insert(0, worker)  # another one tries again what failed
            outcome = result(done)
            if isinstance(outcome, str):
                tries[job] += 1
                if tries[job] < TRIES:
                    waiting.append(job)
                    continue
                failures.append(outcome)
            else:
                bar.write(str(outcome))
                failures += [failure] if (failure := outcome.failure()) else []
            bar.update()
    return failures


def result(reference: Any) -> BagReport | str:
    """Give what a worker answers; a lost worker's message. Raises what loading weights raises."""
    try:
        outcome: BagReport | str = ray.get(reference)
        return outcome
    except RayTaskError as error:
        raise error.cause from None  # without the stack of the worker
    except RayError as error:
        return f'a worker was lost: {str(error).splitlines()[0]}'
