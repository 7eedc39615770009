"""Many bags: which there are, and one after the other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from depth_pro_ros.bags.convert import convert_bag
from depth_pro_ros.bags.options import BagError, BagOptions, ModelChoice
from depth_pro_ros.bags.reading import is_bag


class Job(NamedTuple):
    """One bag to convert."""

    source: Path
    output: Path


def convert_bags(
    source: Path,
    output: Path,
    options: BagOptions,
    model: ModelChoice,
    workers: int | None = None,
    engine: str = 'local',
) -> list[str]:
    """Convert the bag `source` to the bag `output`, or each bag of a folder into a folder.

    engine: `local`, one bag after the other, or `ray`, with `workers` bags at a time. Of a folder,
    what exists already is left as it is. Returns one message for each bag that failed, wholly or
    in part; raises BagError where there is nothing to do, or `workers` are given without Ray, and
    what `ModelChoice.load` raises.
    """
    if workers is not None and engine != 'ray':
        raise BagError("--workers needs --engine ray (pip install 'depth_pro_ros[ray]')")
    jobs = find_jobs(source, output)
    if engine == 'ray':
        from depth_pro_ros.bags.ray_engine import convert_on_ray

        return convert_on_ray(jobs, options, model, workers)
    return convert_here(jobs, options, model)


def find_jobs(source: Path, output: Path) -> list[Job]:
    """Give a job for each bag that is to be made. Raises BagError where there is no bag."""
    if not source.exists():
        raise BagError(f'{source} does not exist')
    if source.is_file() or is_bag(source):
        if source.resolve().is_relative_to(output.resolve()):
            raise BagError(f'{output} is, or holds, the bag that is read: choose another name')
        return [Job(source, output)]
    bags = sorted(path for path in source.iterdir() if is_bag(path))
    if not bags:
        raise BagError(
            f'{source} is no bag and has none in it: a bag is a folder with metadata.yaml, or an '
            '.mcap or .db3 file'
        )
    if output.resolve().is_relative_to(source.resolve()):
        raise BagError(f'{output} lies in {source}: choose a folder beside it')
    names = [path.name if path.is_dir() else path.stem for path in bags]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BagError(f'{source} has several bags named {", ".join(sorted(twice))}: rename one')
    jobs = [Job(path, output / name) for path, name in zip(bags, names)]
    for job in jobs:
        if job.output.exists():
            print(f'{job.output}: is there already')
    return [job for job in jobs if not job.output.exists()]


def convert_here(jobs: Sequence[Job], options: BagOptions, model: ModelChoice) -> list[str]:
    """Convert one bag after the other; gives a message for each that failed."""
    load = functools.cache(model.load)
    failures = []
    for job in jobs:
        try:
            report = convert_bag(job.source, job.output, options, load)
        except BagError as error:
            failures.append(str(error))
            continue
        tqdm.write(str(report))
        if failure := report.failure():
            failures.append(failure)
    return failures
