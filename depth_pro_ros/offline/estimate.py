"""`depth_pro estimate`: depth of all files that a user names, whatever becomes of some of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.images import ImageError, WriteError, prepare_folder
from depth_pro_ros.offline.inputs import Clip, Source, file_key, find_clips
from depth_pro_ros.offline.outputs import (
    PICTURE_FORMATS,
    WRITERS,
    beside,
    check_formats,
    read_record,
)
from depth_pro_ros.offline.pictures import estimate_pictures
from depth_pro_ros.offline.run import Records, Run, Settings, failed, failures_of
from depth_pro_ros.offline.summary import Record, Summary
from depth_pro_ros.offline.video import measure_video
from depth_pro_ros.offline.videos import VideoFiles, estimate_video


def estimate_files(
    load: Callable[[], DepthEstimator],
    inputs: Sequence[str | Path],
    output: Path,
    settings: Settings,
) -> list[str]:
    """Write the depth of pictures, folders, patterns and videos into the folder `output`.

    load: gives the estimator; not called where there is no file. Finished files of an earlier run
    are skipped. `summary.jsonl` has a line for each file. Returns a message for each file that
    failed; all the others are done, unless the disk is full. Raises WriteError where `output`
    cannot be written at all, or a result would overwrite an input or the result of another one.
    """
    check_formats(settings.formats or ())
    if not is_utf8(output):
        raise WriteError(f'{output}: the name is not UTF-8: choose another --output')
    prepare_folder(output)
    clips, failures = find_clips(inputs, output)
    check_names(clips, output, settings.formats)
    clips, lengths, records = measure(clips)
    estimated = estimate_clips(load, clips, lengths, output, settings) if clips else ()
    summary = Summary(output / 'summary.jsonl')
    try:
        for record in itertools.chain(records, estimated):
            summary.add(record)
            failures += failures_of(record)
        summary.close()
    except (WriteError, OSError) as error:
        failures.append(str(error))
    return failures


def estimate_clips(
    load: Callable[[], DepthEstimator],
    clips: Sequence[Clip],
    lengths: Sequence[int],
    output: Path,
    settings: Settings,
) -> Records:
    """Estimate clips of so many frames, one after the other."""
    estimator = load()
    with tqdm(total=sum(lengths), unit='frame') as bar:
        run = Run(estimator, output, settings, bar)
        for clip, length in zip(clips, lengths):
            if clip.is_video:
                yield from estimate_video(run, clip.sources[0], length)
            else:
                yield from estimate_pictures(run, clip)


def check_names(clips: Sequence[Clip], output: Path, formats: Sequence[str] | None) -> None:
    """Raise WriteError where a result would take the place of an input, or of another's result."""
    inputs = {source.key for clip in clips for source in clip.sources}
    for clip in clips:
        for source in clip.sources:
            files = VideoFiles(output / source.name)
            results = [beside(files.stem, WRITERS[name][0]) for name in formats or PICTURE_FORMATS]
            for path in [files.video] if clip.is_video else results:
                if file_key(path) in inputs:
                    raise misplaced(source, path, 'is an input')
            for path in (files.record, files.unfinished):
                owner = (read_record(path) or {}).get('input', 'something else')
                if path.exists() and owner != source.key:
                    raise misplaced(source, path, f'belongs to {owner}')
            if clip.is_video and formats and files.stem.is_file():
                raise misplaced(source, files.stem, 'is a file')


def misplaced(source: Source, path: Path, owner: str) -> WriteError:
    """Give the error of a result that would overwrite something."""
    return WriteError(
        f'{path} {owner}, and {source.path} would take its place: choose another --output'
    )


def measure(clips: Sequence[Clip]) -> tuple[list[Clip], list[int], list[Record]]:
    """Count the frames of each clip; records of missing files and empty videos come apart.

    Says which videos seem to be cut off. They may have been trimmed, and what is there is done.
    """
    good, lengths, bad = [], [], []
    for clip in clips:
        first = clip.sources[0].path
        try:
            check_is_there(first)
            length, missing_s = len(clip.sources), 0.0
            if clip.is_video:
                length, missing_s = measure_video(first)
        except ImageError as error:
            bad.append(failed(first, error))
        else:
            good.append(clip)
            lengths.append(length)
            if missing_s:
                tqdm.write(
                    f'{first}: the last {missing_s:.1f} s of its length have no frame: it is cut '
                    'off, or was trimmed'
                )
    return good, lengths, bad


def is_utf8(path: Path) -> bool:
    """Tell whether a name can be given to libraries that know UTF-8 alone."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_is_there(path: Path) -> None:
    """Raise ImageError where there is no file of that name, or OpenCV would crash on the name."""
    if not is_utf8(path):
        raise ImageError(f'{path}: the name is not UTF-8: rename it')
    try:
        path.stat()
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror}') from error
