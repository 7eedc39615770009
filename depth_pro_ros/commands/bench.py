"""`depth_pro bench`."""

from __future__ import annotations

import argparse
from pathlib import Path

from depth_pro_ros.commands.options import (
    add_model_options,
    picture_size,
    positive,
    report,
)
from depth_pro_ros.ros.parameters import NodeParameters


def add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro bench`."""
    parser = commands.add_parser(
        'bench',
        help='time, memory and exactness, beside other Depth Pros',
        description='Runs one picture through this package and through every other Depth Pro that '
        'is installed (transformers, depth_pro), with the same weights, in turn, each in a process '
        'of its own. Prints a table; its first row is the reference.',
    )
    add_model_options(parser)
    parser.add_argument(
        '--preset',
        choices=['small', 'large'],
        help='small: the weights of that name; large: random weights of the official size',
    )
    parser.add_argument('--size', default='1920x1080', metavar='WxH', help='(%(default)s)')
    parser.add_argument(
        '--rounds', type=positive(int), default=5, metavar='N', help='timed pictures (%(default)s)'
    )
    parser.add_argument(
        '--compile',
        choices=['default', 'reduce-overhead', 'max-autotune'],
        metavar='MODE',
        help='run the others with torch.compile, too: default, reduce-overhead or max-autotune',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there, too')
    parser.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> int:
    """Print the table."""
    from depth_pro_ros.bench.bench import INTERRUPTED, bench
    from depth_pro_ros.devices import choose_device, choose_precision, precision_name
    from depth_pro_ros.images import prepare_folder

    if args.preset and args.weights != NodeParameters.weights:
        raise ValueError('--preset chooses weights itself: leave --weights out')
    size = picture_size('--size', args.size)
    if args.json:
        prepare_folder(args.json.parent)
    weights = {'small': 'small', 'large': 'random', None: args.weights}[args.preset]
    precision = precision_name(choose_precision(args.precision, choose_device(args.device)))
    found = bench(weights, [precision], args.device, size, args.rounds, args.memory, args.compile)
    print(found.markdown())
    if args.json:
        found.write(args.json)
    code = report(found.failures)
    return 130 if INTERRUPTED in found.failures else code
