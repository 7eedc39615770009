"""`depth_pro estimate` and `depth_pro evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from depth_pro_ros.commands.options import (
    add_focal_option,
    add_model_options,
    positive,
    report,
)

if TYPE_CHECKING:
    from depth_pro_ros.estimator import DepthEstimator


def add_estimate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro estimate`."""
    parser = commands.add_parser(
        'estimate',
        help='depth of pictures and videos',
        description='Writes for each picture NAME.json (intrinsics) and the chosen formats: '
        'NAME.npz (depth_m, focal_px, fov_deg), NAME_mm.png (png16: millimetres), NAME_depth.png '
        '(png: colours with a scale), NAME.exr and NAME.ply; for each video NAME_depth.mp4, and '
        'the formats that --format names of each frame. A run that was cut off goes on.',
    )
    parser.add_argument(
        'inputs', nargs='+', metavar='INPUT', help='picture, video, folder or pattern like "*.jpg"'
    )
    parser.add_argument(
        '--format',
        nargs='+',
        choices=['npz', 'png16', 'png', 'exr', 'ply'],
        help='what to write (pictures: all but exr; videos: the video alone)',
    )
    parser.add_argument(
        '--per-frame-focal',
        action='store_true',
        help='do not take one focal length for all frames of a video or a numbered sequence',
    )
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    add_focal_option(parser, 'default: EXIF data, else the network')
    add_model_options(parser)
    parser.set_defaults(run=run_estimate)


def run_estimate(args: argparse.Namespace) -> int:
    """Estimate files; 1 where one of them failed."""
    from depth_pro_ros.offline.estimate import estimate_files
    from depth_pro_ros.offline.run import Settings

    if args.per_frame_focal and args.focal_px:
        raise ValueError('--focal-px is of every frame: leave --per-frame-focal out')
    formats = tuple(args.format) if args.format else None
    settings = Settings(args.weights, args.focal_px, args.per_frame_focal, formats)
    return report(estimate_files(lambda: load(args), args.inputs, args.output, settings))


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro evaluate`."""
    parser = commands.add_parser(
        'evaluate',
        help='measure depth against a data set with true depth',
        description='Prints a table and writes evaluation.md, .json and .png (best and worst '
        'frames). Data sets: a folder with frames.json, or one as it is published.',
    )
    parser.add_argument('--data', type=Path, required=True, metavar='DIR')
    parser.add_argument('--dataset', default='auto', help='layout of the folder (%(default)s)')
    parser.add_argument(
        '--limit', type=positive(int), metavar='N', help='measure N frames, evenly chosen'
    )
    parser.add_argument(
        '--output', type=Path, default='evaluation', metavar='DIR', help='default: %(default)s'
    )
    add_focal_option(parser, 'of pictures whose data tell none')
    add_model_options(parser)
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure a data set; 1 where a frame failed."""
    from depth_pro_ros.evaluation.datasets import find_frames
    from depth_pro_ros.evaluation.evaluate import evaluate

    frames = find_frames(args.data, args.dataset, args.limit)
    estimator = load(args)
    title = f'{args.weights} on {args.data.resolve().name}, {estimator.precision}'
    return report(evaluate(estimator, frames, args.output, title, args.focal_px))


def load(args: argparse.Namespace) -> DepthEstimator:
    """Load the weights that the options name, as they say."""
    from depth_pro_ros.estimator import DepthEstimator

    return DepthEstimator.from_pretrained(args.weights, args.device, args.precision, args.memory)
