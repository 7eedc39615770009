"""Depth of a picture, or of a numbered sequence with one focal length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.images import ImageError, depth_range, read_picture
from depth_pro_ros.offline.clip import Settled, samples, settle
from depth_pro_ros.offline.inputs import Clip, Source
from depth_pro_ros.offline.outputs import (
    PICTURE_FORMATS,
    Result,
    beside,
    have_all,
    write_record,
    write_result,
)
from depth_pro_ros.offline.run import BAD_FILE, Records, Run, Stopwatch, failed, make_record
from depth_pro_ros.offline.summary import Record


def estimate_pictures(run: Run, clip: Clip) -> Records:
    """Estimate the pictures of a clip; those that were finished before are left as they are."""
    formats = run.settings.formats or PICTURE_FORMATS
    before: dict[Source, Record] = {}
    for source in clip.sources:
        stem = run.output / source.name
        record = run.finished(source, beside(stem, '.json'))
        if record is not None and have_all(stem, formats):
            before[source] = record
    shares_focal = len(clip.sources) > 1 and not run.settings.per_frame_focal
    settled = settled_before(before) if shares_focal else None
    for source in clip.sources:
        if source in before:
            record = before[source]
        else:
            try:
                if shares_focal and settled is None:
                    settled = settle_pictures(run, clip)
                record = estimate_picture(run, source, formats, settled)
                run.report(record)
            except BAD_FILE as error:
                record = failed(source.path, error)
        run.bar.update()
        yield record


def estimate_picture(
    run: Run, source: Source, formats: tuple[str, ...], settled: Settled | None
) -> Record:
    """Estimate one picture and write its files; the record comes last and says that all is done."""
    watch = Stopwatch()
    rgb = read_picture(source.path)
    focal_px, focal_source = run.known_focal(source.path)
    if focal_px is None and settled is not None:
        focal_px, focal_source = settled.focal_px, 'network, median of the sequence'
    prediction = run.estimator.predict(rgb, focal_px)
    result = Result(rgb, prediction, settled.colours_m if settled else None)
    stem = run.output / source.name
    write_result(stem, formats, result)
    record = make_record(
        run, source, result.intrinsics, depth_range(prediction.depth_m), focal_source
    )
    record |= {'clip': dataclasses.asdict(settled) if settled else None}
    record |= {'seconds': watch.seconds()}
    write_record(beside(stem, '.json'), record)
    return record


def settled_before(before: dict[Source, Record]) -> Settled | None:
    """Give what an earlier run settled for this sequence, so that the rest of it matches."""
    for record in before.values():
        if record.get('clip'):
            return Settled(**record['clip'])
    return None


def settle_pictures(run: Run, clip: Clip) -> Settled:
    """Settle the focal length and the colours of a sequence by some of its pictures."""

    def pictures() -> Iterator[tuple[NDArray[np.uint8], float | None]]:
        for index in samples(len(clip.sources)):
            path = clip.sources[index].path
            try:
                yield read_picture(path), run.known_focal(path)[0]
            except ImageError:
                continue  # reported when it is its turn

    return settle(run.estimator, pictures())
