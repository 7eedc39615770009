"""Depth of a video: one focal length, a video side by side, and files of its frames if wanted."""

from __future__ import annotations

import dataclasses
import shutil
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.camera import Intrinsics, fov_from_focal
from depth_pro_ros.estimator import DepthPrediction
from depth_pro_ros.images import write_aside
from depth_pro_ros.offline.clip import Settled, samples, settle
from depth_pro_ros.offline.inputs import Source
from depth_pro_ros.offline.outputs import (
    Result,
    all_formats,
    beside,
    have_all,
    read_record,
    remove_results,
    vouches,
    write_record,
    write_result,
)
from depth_pro_ros.offline.run import BAD_FILE, Records, Run, failed, make_record
from depth_pro_ros.offline.summary import Record
from depth_pro_ros.offline.video import frame_rate, read_frames, side_by_side, write_video

JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class VideoFiles:
    """Where the results of a video lie, and those of its frames until the video is whole."""

    stem: Path
    frames: int = 0

    @property
    def video(self) -> Path:
        """Picture and depth side by side."""
        return beside(self.stem, '_depth.mp4')

    @property
    def record(self) -> Path:
        """Intrinsics; written last."""
        return beside(self.stem, '.json')

    @property
    def parts(self) -> Path:
        """Frames for the video, kept so that a run that is cut off goes on where it was."""
        return self.stem.with_name(f'.{self.stem.name}.parts')

    @property
    def unfinished(self) -> Path:
        """The record until the video is whole."""
        return self.parts / 'record.json'

    def part(self, index: int) -> Path:
        """One frame for the video."""
        return self.parts / f'{index:06d}.jpg'

    def frame_stem(self, index: int) -> Path:
        """Name of the files of one frame, in a folder that is named as the video."""
        return self.stem / f'{index:06d}'

    def have_frame(self, index: int, formats: tuple[str, ...]) -> bool:
        """Tell whether the chosen formats of a frame are there."""
        return have_all(self.frame_stem(index), formats)

    def are_whole(self, formats: tuple[str, ...]) -> bool:
        """Tell whether the video is there, and the chosen formats of all frames."""
        return self.video.is_file() and all(
            self.have_frame(index, formats) for index in range(self.frames)
        )


def estimate_video(run: Run, source: Source, frames: int) -> Records:
    """Estimate a video of so many frames, unless it was finished before."""
    files = VideoFiles(run.output / source.name, frames)
    formats = run.settings.formats or ()
    record = run.finished(source, files.record)
    if record is not None and vouches(record, formats) and files.are_whole(formats):
        run.bar.update(frames)
        yield record
        return
    began_s = time.perf_counter()
    try:
        settled = settle_video(run, source, files)
        estimate_frames(run, source, files, settled)
        parts = [files.part(index) for index in range(frames)]
        write_video(files.video, parts, frame_rate(source.path))
        record = read_record(files.unfinished) or {}
        record |= {'seconds': round(time.perf_counter() - began_s, 2)}
        write_record(files.record, record)
        shutil.rmtree(files.parts, ignore_errors=True)
        run.report(record)
    except BAD_FILE as error:
        record = failed(source.path, error)
    yield record


def settle_video(run: Run, source: Source, files: VideoFiles) -> Settled:
    """Give the focal length and the colours of a video, as the run that was cut off had them."""
    formats = run.settings.formats or ()
    unfinished = run.finished(source, files.unfinished)
    if unfinished is not None and vouches(unfinished, formats):
        write_record(files.unfinished, unfinished | {'formats': sorted(formats)})  # of all frames
        return Settled(**unfinished['clip'])
    before = run.finished(source, files.record)
    if before is None:
        remove_outdated(files)
    files.record.unlink(missing_ok=True)  # or it would vouch for files that are replaced now
    shutil.rmtree(files.parts, ignore_errors=True)  # made by other weights, or of another video
    files.parts.mkdir(parents=True)
    focal_px = run.settings.focal_px
    pictures = (rgb for _, rgb in read_frames(source.path, samples(files.frames)))
    settled = settle(run.estimator, ((rgb, focal_px) for rgb in pictures))
    record = video_record(run, source, settled)
    record |= {'frames': files.frames, 'formats': all_formats(formats, before)}
    write_record(files.unfinished, record)
    return settled


def remove_outdated(files: VideoFiles) -> None:
    """Remove what was made in another way, or of a longer video."""
    for record in filter(None, map(read_record, (files.record, files.unfinished))):
        for index in range(record.get('frames', 0)):
            stem = files.frame_stem(index)
            remove_results(stem, record.get('formats', ()))
            beside(stem, '.json').unlink(missing_ok=True)
    files.video.unlink(missing_ok=True)


def video_record(run: Run, source: Source, settled: Settled) -> Record:
    """Give the record of a video: as of a picture, with the focal length of the clip."""
    _, rgb = next(read_frames(source.path, [0]))
    height, width = rgb.shape[:2]
    focal_source = 'network, median of the video'
    if run.settings.focal_px is not None:
        focal_source = 'given'
    elif run.settings.per_frame_focal:
        focal_source = 'network, frame by frame; this is the median'
    camera = Intrinsics.from_focal(settled.focal_px, width, height)
    record = make_record(run, source, camera, settled.colours_m, focal_source)
    return record | {'clip': dataclasses.asdict(settled), 'frame_errors': {}}


def estimate_frames(run: Run, source: Source, files: VideoFiles, settled: Settled) -> None:
    """Estimate the frames that are not there yet; a frame's part comes after its files.

    One without a finite answer has no known depth, and its error is in the record.
    """
    formats = run.settings.formats or ()
    missing = {
        index
        for index in range(files.frames)
        if not (files.part(index).is_file() and files.have_frame(index, formats))
    }
    run.bar.update(files.frames - len(missing))
    if formats:
        files.stem.mkdir(exist_ok=True)
    per_frame = run.settings.per_frame_focal and run.settings.focal_px is None
    for index, rgb in read_frames(source.path, missing):
        try:
            prediction = run.estimator.predict(rgb, None if per_frame else settled.focal_px)
        except ArithmeticError as error:  # the other frames are worth having
            note_error(files, index, f'{source.path}: frame {index}: {error}')
            prediction = unknown_depth(rgb, settled.focal_px)
        result = Result(rgb, prediction, settled.colours_m)
        if formats:
            stem = files.frame_stem(index)
            write_result(stem, formats, result)
            write_record(beside(stem, '.json'), dataclasses.asdict(result.intrinsics))
        picture = side_by_side(rgb, prediction.depth_m, settled.colours_m)
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        jpeg = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
        write_aside(files.part(index), partial(Path.write_bytes, data=jpeg))
        run.bar.update()


def note_error(files: VideoFiles, index: int, message: str) -> None:
    """Add the error of a frame to the record of a video."""
    record = read_record(files.unfinished) or {}
    errors = record.get('frame_errors', {}) | {str(index): message}
    write_record(files.unfinished, record | {'frame_errors': errors})


def unknown_depth(rgb: NDArray[np.uint8], focal_px: float) -> DepthPrediction:
    """Give the depth of a frame that nothing is known of: NaN."""
    depth_m = np.full(rgb.shape[:2], np.nan, np.float32)
    return DepthPrediction(depth_m, focal_px, fov_from_focal(focal_px, rgb.shape[1]), False)
