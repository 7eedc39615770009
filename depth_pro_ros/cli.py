"""The `depth_pro` command: each sub-command parses, imports lazily and calls one function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from depth_pro_ros import __version__

EXTRAS = {
    'OpenEXR': 'exr',
    'cv2': 'opencv',
    'h5py': 'evaluate',
    'ray': 'ray',
    'rich': 'evaluate',
    'rosbags': 'bag',
    'scipy': 'evaluate',
}
"""Module that not everybody has -> the extra of this package that brings it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code (2 for wrong usage or input, as argparse does)."""
    parser = argparse.ArgumentParser(
        prog='depth_pro', description='Metric depth from one camera, with Depth Pro.'
    )
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    add_estimate(commands)
    add_evaluate(commands)
    add_bag(commands)
    add_doctor(commands)
    args = parser.parse_args(argv)
    try:
        code: int = args.run(args)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or '')
        package = f'depth_pro_ros[{extra}]' if extra else error.name
        print(f"depth_pro: {error.name} is missing: pip install '{package}'", file=sys.stderr)
        code = 1
    except (RuntimeError, ValueError, ArithmeticError, OSError) as error:
        print(f'depth_pro: {error}', file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print('depth_pro: interrupted; what is finished was kept', file=sys.stderr)
        code = 130
    return code


def add_model_options(
    parser: argparse.ArgumentParser, output: str | None = None, focal: str = ''
) -> None:
    """Add the options of commands that make files of depth.

    output: folder for results where the user names none; None: it must be named. focal: what is
    believed without --focal-px.
    """
    parser.add_argument(
        '--output',
        type=Path,
        metavar='DIR',
        default=output,
        required=output is None,
        help='folder for results' + (' (%(default)s)' if output else ''),
    )
    add_network_options(parser)
    add_focal_option(parser, focal)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command with a network has."""
    parser.add_argument(
        '--weights', default='small', help='small, depth_pro (official) or a file (%(default)s)'
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N (%(default)s)')
    parser.add_argument(
        '--precision',
        default='auto',
        choices=['auto', 'fp32', 'fp16', 'bf16'],
        help='arithmetic (%(default)s: fp16 on a GPU, bf16 on a CPU with units for it, else fp32)',
    )


def add_focal_option(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Add --focal-px, with what is believed without it."""
    parser.add_argument('--focal-px', type=float, help=f'focal length in pixels ({otherwise})')


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
    add_model_options(parser, focal='default: EXIF data, else the network')
    parser.set_defaults(run=run_estimate)


def run_estimate(args: argparse.Namespace) -> int:
    """Estimate files; 1 where one of them failed."""
    from depth_pro_ros.estimator import DepthEstimator
    from depth_pro_ros.offline.estimate import estimate_files
    from depth_pro_ros.offline.run import Settings

    formats = tuple(args.format) if args.format else None
    settings = Settings(args.weights, args.focal_px, args.per_frame_focal, formats)
    estimator = DepthEstimator.from_pretrained(args.weights, args.device, args.precision)
    return report(estimate_files(estimator, args.inputs, args.output, settings))


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
    parser.add_argument('--limit', type=int, metavar='N', help='measure N frames, evenly chosen')
    add_model_options(parser, output='evaluation', focal='of pictures whose data tell none')
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure a data set; 1 where a frame failed."""
    from depth_pro_ros.estimator import DepthEstimator
    from depth_pro_ros.evaluation.datasets import find_frames
    from depth_pro_ros.evaluation.evaluate import evaluate

    frames = find_frames(args.data, args.dataset, args.limit)
    estimator = DepthEstimator.from_pretrained(args.weights, args.device, args.precision)
    title = f'{args.weights} on {args.data.resolve().name}, {estimator.precision}'
    return report(evaluate(estimator, frames, args.output, title, args.focal_px))


def add_bag(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro bag`."""
    from depth_pro_ros.bags.options import STORAGES, BagOptions

    default = BagOptions()
    parser = commands.add_parser(
        'bag',
        help='rosbag2 in, rosbag2 with depth out',
        description='Writes a bag with the topics of IN and, for its camera, the topics of the '
        'node: depth, its CameraInfo and, on request, point clouds. OUT appears once it is whole. '
        'Where IN is a folder of bags, each goes into the folder OUT, and those that are there '
        'already are skipped.',
    )
    add = parser.add_argument
    add('source', type=Path, metavar='IN', help='a bag, or a folder of bags')
    add('output', type=Path, metavar='OUT', help='a folder, or a file NAME.mcap or NAME.db3')
    add('--topic', help='image topic (default: the only one there is)')
    add('--camera-info', metavar='TOPIC', help='its CameraInfo (default: the one beside it)')
    add_focal_option(parser, 'default: CameraInfo, else one estimate for the whole bag')
    add('--rectify', action='store_true', help='remove the lens distortion that CameraInfo tells')
    add('--start', type=float, metavar='S', default=default.start_s, help='seconds to leave out')
    add('--duration', type=float, metavar='S', default=default.duration_s, help='seconds to take')
    add('--every', type=int, metavar='N', default=default.every, help='depth of every Nth image')
    add('--storage', choices=STORAGES, help='default: by the suffix of OUT, else mcap')
    add('--only-new', action='store_true', help='leave the topics of IN out')
    add('--compressed', action='store_true', help='depth as compressedDepth instead of 32FC1')
    add('--points', action='store_true', help='point clouds, too')
    for name, kind, unit in (
        ('cloud_stride', int, 'every how many pixels a cloud has a point'),
        ('min_depth', float, 'metres; nearer is -Inf'),
        ('max_depth', float, 'metres; farther is +Inf'),
    ):
        flag = '--' + name.replace('_', '-')
        add(flag, type=kind, default=getattr(default, name), help=f'{unit} (%(default)s)')
    add('--namespace', default=default.namespace, help='of the new topics (%(default)s)')
    add('--engine', choices=['local', 'ray'], default='local', help='ray: bags side by side')
    add('--workers', type=int, metavar='N', help='of Ray (default: one a GPU, or one a machine)')
    add_network_options(parser)
    parser.set_defaults(run=run_bag)


def run_bag(args: argparse.Namespace) -> int:
    """Convert bags; 1 where one of them failed."""
    from depth_pro_ros.bags.jobs import convert_bags
    from depth_pro_ros.bags.options import BagOptions, ModelChoice

    chosen = vars(args) | {'start_s': args.start, 'duration_s': args.duration}
    options = BagOptions(**{field: chosen[field] for field in BagOptions.__dataclass_fields__})
    model = ModelChoice(args.weights, args.device, args.precision)
    return report(convert_bags(args.source, args.output, options, model, args.workers, args.engine))


def add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro doctor`."""
    parser = commands.add_parser(
        'doctor',
        help='whether the node would run here',
        description='Checks what the node needs, with a remedy for each problem. Exit code 0: it '
        'would run, 1: it would not. Where ROS nodes are up, it compares their topics with ours.',
    )
    parser.add_argument(
        '--image-size',
        default='1280x720',
        metavar='WxH',
        help='of the camera, for the size of our messages (%(default)s)',
    )
    add_network_options(parser)
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace) -> int:
    """Print all checks; 1 where the node would not run."""
    import re
    import shutil

    from depth_pro_ros.doctor.check import screen, would_run
    from depth_pro_ros.doctor.examine import examine

    size = re.fullmatch(r'(\d+)x(\d+)', args.image_size)
    if size is None:
        raise ValueError(f"--image-size '{args.image_size}' is not like 1280x720")
    checks = examine(args.weights, args.device, args.precision, int(size[1]), int(size[2]))
    print(screen(checks, min(shutil.get_terminal_size().columns, 100)))
    return 0 if would_run(checks) else 1


def report(failures: Sequence[str]) -> int:
    """Print what failed, a line each; gives the exit code."""
    for failure in failures:
        print(f'depth_pro: {failure}', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
