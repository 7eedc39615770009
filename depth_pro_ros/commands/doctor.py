"""`depth_pro doctor`."""

from __future__ import annotations

import argparse

from depth_pro_ros.commands.options import add_model_options, picture_size


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
    add_model_options(parser)
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace) -> int:
    """Print all checks; 1 where the node would not run."""
    import shutil

    from depth_pro_ros.doctor.check import screen, would_run
    from depth_pro_ros.doctor.examine import examine

    size = picture_size('--image-size', args.image_size)
    checks = examine(args.weights, args.device, args.precision, args.memory, *size)
    print(screen(checks, min(shutil.get_terminal_size().columns, 100)))
    return 0 if would_run(checks) else 1
