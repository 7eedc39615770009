"""Depth of a picture, or of a numbered sequence with one focal length."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.images import ImageError, depth_range, read_picture
from depth_pro_ros.offline.clip import Settled, samples, settle
from depth_pro_ros.offline.inputs import Clip, Source
from depth_pro_ros.offline.outputs import (
    PICTURE_FORMATS,
    Result,
    all_formats,
    have_all,
    read_record,
    remove_results,
    vouches,
    write_record,
    write_result,
)
from depth_pro_ros.offline.run import BAD_FILE, Records, Run, failed, make_record
from depth_pro_ros.offline.summary import Record


def estimate_pictures(run: Run, clip: Clip) -> Records:
    """Estimate the pictures of a clip; those that were finished before are left as they are."""
    formats = run.settings.formats or PICTURE_FORMATS
    shares_focal = len(clip.sources) > 1 and not run.settings.per_frame_focal
    records = {
        source: record
        for source in clip.sources
        if (record := run.finished(source, run.record_path(source))) is not None
    }
    settled = settled_before(records) if shares_focal else None
    if shares_focal and settled is None:
        records.clear()  # each was done alone
    for source in clip.sources:
        record = records.get(source)
        if record is not None and record.get('clip') != clip_of(settled):
            record = None
        stem = run.output / source.name
        if record is None or not (vouches(record, formats) and have_all(stem, formats)):
            try:
                if shares_focal and settled is None:
                    settled = settle_pictures(run, clip)
                record = estimate_picture(run, source, formats, settled, record)
                run.report(record)
            except BAD_FILE as error:
                record = failed(source.path, error)
        run.bar.update()
        yield record


def clip_of(settled: Settled | None) -> dict[str, float] | None:
    """Give what a record tells of the clip that its picture is a part of."""
    return dataclasses.asdict(settled) if settled else None


def estimate_picture(
    run: Run,
    source: Source,
    formats: tuple[str, ...],
    settled: Settled | None,
    before: Record | None,
) -> Record:
    """Estimate one picture and write its files; the record comes last and says that all is done.

    before: the record of files of other formats that were made in the same way. Without it, an old
    record goes before the first file is replaced, and the files that it vouches for go, too.
    """
    began_s = time.perf_counter()
    rgb = read_picture(source.path)
    focal_px, focal_source = run.known_focal(source.path)
    if focal_px is None and settled is not None:
        focal_px, focal_source = settled.focal_px, 'network, median of the sequence'
    prediction = run.estimator.predict(rgb, focal_px)
    result = Result(rgb, prediction, settled.colours_m if settled else None)
    if before is None:
        outdated = read_record(run.record_path(source)) or {}
        remove_results(run.output / source.name, outdated.get('formats', ()))
        run.record_path(source).unlink(missing_ok=True)
    write_result(run.output / source.name, formats, result)
    record = make_record(
        run, source, result.intrinsics, depth_range(prediction.depth_m), focal_source
    )
    record |= {'clip': clip_of(settled), 'formats': all_formats(formats, before)}
    record |= {'seconds': round(time.perf_counter() - began_s, 2)}
    write_record(run.record_path(source), record)
    return record


def settled_before(records: dict[Source, Record]) -> Settled | None:
    """Give what an earlier run settled for this sequence, so that the rest of it matches."""
    for record in records.values():
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
