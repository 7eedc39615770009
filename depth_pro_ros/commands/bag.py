"""`depth_pro bag`."""

from __future__ import annotations

import argparse
from pathlib import Path

from depth_pro_ros.commands.options import add_focal_option, add_model_options, positive, report


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
    workers = 'of --engine ray (default: one a GPU, or one a machine)'
    add('--workers', type=positive(int), metavar='N', help=workers)
    add_model_options(parser)
    parser.set_defaults(run=run_bag)


def run_bag(args: argparse.Namespace) -> int:
    """Convert bags; 1 where one of them failed."""
    from depth_pro_ros.bags.jobs import convert_bags
    from depth_pro_ros.bags.options import BagOptions, ModelChoice

    chosen = vars(args) | {'start_s': args.start, 'duration_s': args.duration}
    options = BagOptions(**{field: chosen[field] for field in BagOptions.__dataclass_fields__})
    model = ModelChoice(args.weights, args.device, args.precision, args.memory)
    return report(convert_bags(args.source, args.output, options, model, args.workers, args.engine))
