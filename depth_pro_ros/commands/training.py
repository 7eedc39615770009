"""The commands that make networks: `depth_pro rooms`, `train` and `distil`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depth_pro_ros.commands.options import positive, seed

if TYPE_CHECKING:
    from depth_pro_ros.network import DepthPro
    from depth_pro_ros.training.frames import Frames

STAGES = ('1', '2', 'fov')
WRITES = (
    'Writes the weights FILE, and beside it .metrics.jsonl and .metrics.png. A run that was cut '
    'off goes on where it was when the same command is given again.'
)


def add_rooms(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro rooms`."""
    parser = commands.add_parser(
        'rooms',
        help='render furnished rooms with exact depth, to train on',
        description='Writes 000000.jpg, 000000.npz (depth_m, fov_deg) ... and frames.json.',
    )
    parser.add_argument('--count', type=positive(int), required=True, help='frames, six a room')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    parser.add_argument('--preview', type=Path, metavar='PNG', help='also write a contact sheet')
    parser.add_argument('--seed', type=seed, default=0, help='same seed, same frames (%(default)s)')
    parser.add_argument(
        '--size', type=positive(int), default=384, help='side in pixels (%(default)s)'
    )
    parser.add_argument(
        '--held-out', action='store_true', help='furnish with what training rooms never contain'
    )
    parser.add_argument(
        '--surfaces',
        type=Path,
        metavar='DIR',
        help='photographs, of any kind, to cover a part of walls, floors and things with',
    )
    parser.add_argument('--workers', type=positive(int), help='processes (default: one a core)')
    parser.set_defaults(run=run_rooms)


def run_rooms(args: argparse.Namespace) -> int:
    """Render."""
    from depth_pro_ros.training.rooms import rooms

    if args.preview:
        check_output('--preview', args.preview, '.png')
    rooms(
        args.count,
        args.output,
        preview=args.preview,
        seed=args.seed,
        held_out=args.held_out,
        workers=args.workers,
        size_px=args.size,
        surfaces=args.surfaces,
    )
    return 0


def add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro train`."""
    parser = commands.add_parser(
        'train', help='train or fine-tune a network', description=f'Trains a network. {WRITES}'
    )
    parser.add_argument(
        '--data',
        type=Path,
        nargs='+',
        required=True,
        metavar='DIR',
        help='one or more: rendered rooms, a bag with depth, or what `evaluate` reads (a data set, '
        'a folder with frames.json)',
    )
    parser.add_argument('--depth-topic', help='of a bag with several depth topics')
    parser.add_argument(
        '--focal-px', type=positive(float), help='of a bag without CameraInfo, or frames without fx'
    )
    parser.add_argument(
        '--preset', help="small or large (default: that of --init's weights, else small)"
    )
    parser.add_argument(
        '--tile-size',
        type=positive(int),
        help="pixels of a tile, instead of the preset's: a network of smaller tiles learns faster, "
        'and --init hands it over to one of larger tiles',
    )
    parser.add_argument(
        '--init', default='dinov2', help='dinov2, none, small or a weights file (%(default)s)'
    )
    parser.add_argument(
        '--panoramas',
        type=Path,
        metavar='DIR',
        help='upright equirectangular photographs (.hdr or pictures) to learn from as well: their '
        "field of view is known, and depth is what --init's weights see, in metres by the floor",
    )
    parser.add_argument(
        '--tripod-m',
        type=positive(float),
        metavar='M',
        help='height of the camera of the panoramas above the floor (default: 1.5)',
    )
    add_run_options(parser)
    parser.set_defaults(run=run_train)


def add_distil(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `depth_pro distil`."""
    parser = commands.add_parser(
        'distil',
        help='teach a small network with a big one, on pictures without depth',
        description="Keeps the teacher's answers in the folder FILE.labels, then trains on them. "
        + WRITES,
    )
    parser.add_argument(
        '--images',
        type=Path,
        required=True,
        metavar='DIR',
        help='pictures, any depth of folders, or a bag',
    )
    parser.add_argument('--teacher', required=True, help='depth_pro (official), small or a file')
    parser.add_argument(
        '--student', default='small', help='what learns: small or a weights file (%(default)s)'
    )
    add_run_options(parser)
    parser.set_defaults(run=run_distil)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what all training has."""
    parser.add_argument('--topic', help='of a bag with several cameras')
    parser.add_argument(
        '--every', type=positive(int), default=1, metavar='N', help='take every Nth frame of a bag'
    )
    parser.add_argument('--output', type=Path, required=True, metavar='FILE', help='.safetensors')
    parser.add_argument(
        '--held-out',
        type=Path,
        metavar='DIR',
        help='frames to measure on (default: the last tenth of the data, which is not learned)',
    )
    parser.add_argument(
        '--stage', nargs='+', choices=STAGES, default=STAGES, help='in this order (default: all)'
    )
    parser.add_argument('--steps', type=positive(int), help="instead of each stage's own number")
    parser.add_argument(
        '--batch', type=positive(int), help="pictures a step, instead of each stage's own"
    )
    parser.add_argument(
        '--rate', type=positive(float), help="learning rate, instead of each stage's own"
    )
    parser.add_argument(
        '--freeze-vit',
        action='store_true',
        help='train all but the ViTs: faster, and what they know of other pictures stays',
    )
    parser.add_argument('--seed', type=seed, default=0, help='(%(default)s)')


def run_train(args: argparse.Namespace) -> int:
    """Train on pictures with depth."""
    import torch

    from depth_pro_ros.training.frames import Frames
    from depth_pro_ros.training.panoramas import TRIPOD_M, open_panoramas
    from depth_pro_ros.training.sources import kept_px, open_frames
    from depth_pro_ros.training.start import start_network

    check_training(args.output)
    if args.freeze_vit and args.init == 'none':
        raise ValueError('--freeze-vit would keep a random ViT: give --init weights that know more')
    if args.tripod_m and not args.panoramas:
        raise ValueError('--tripod-m is the height of the camera of --panoramas: give these, too')
    if args.panoramas and args.init in ('dinov2', 'none'):
        raise ValueError('--panoramas asks for --init with weights that know depth already')
    torch.manual_seed(args.seed)
    network = start_network(args.init, args.preset, args.tile_size)
    named = ('topic', 'depth_topic', 'focal_px', 'every')
    how = {name: getattr(args, name) for name in named} | {'shorter_px': kept_px(network.config)}
    parts = [open_frames(path, **how) for path in args.data]
    if args.held_out:
        rest = [open_frames(args.held_out, **how)]
    else:
        parts, rest = map(list, zip(*(part.hold_out() for part in parts), strict=True))
    origin = {'data': ' '.join(map(str, args.data)), 'init': args.init}
    origin |= given(args, 'held_out', 'topic', 'depth_topic', 'focal_px', 'every')
    if args.panoramas:
        teacher, digest = load_teacher(args.init)
        tripod_m = args.tripod_m or TRIPOD_M
        parts.append(open_panoramas(args.panoramas, teacher, tripod_m))
        del teacher
        origin |= {'panoramas': str(args.panoramas), 'tripod_m': str(tripod_m), 'teacher': digest}
    return run_stages(args, network, Frames.joined(parts), Frames.joined(rest), origin)


def run_distil(args: argparse.Namespace) -> int:
    """Label pictures with the teacher, then train the student on them."""
    import torch

    from depth_pro_ros.training.distil import label
    from depth_pro_ros.training.sources import LABELS, kept_px, open_frames, open_pictures
    from depth_pro_ros.training.start import start_network

    check_training(args.output)
    torch.manual_seed(args.seed)
    student = start_network(args.student)
    teacher, digest = load_teacher(args.teacher)
    labels = args.output.with_suffix(LABELS)
    shorter_px = kept_px(student.config)
    how: dict[str, Any] = {'topic': args.topic, 'every': args.every, 'shorter_px': shorter_px}
    held_out = open_frames(args.held_out, **how) if args.held_out else None
    pictures = open_pictures(args.images, args.topic, args.every)
    origin = {'teacher': digest, 'images': str(args.images.resolve())}
    label(teacher, pictures, labels, {**origin, **how}, shorter_px)
    del teacher
    origin |= given(args, 'student', 'held_out', 'topic', 'every')
    frames = open_frames(labels, shorter_px=shorter_px)
    if held_out is None:
        frames, held_out = frames.hold_out()
    return run_stages(args, student, frames, held_out, origin)


def given(args: argparse.Namespace, *names: str) -> dict[str, str]:
    """Give those options that have a value: a run that goes on must have the same."""
    values = {name: getattr(args, name) for name in names}
    return {name: str(value) for name, value in values.items() if value is not None}


def load_teacher(weights: str) -> tuple[DepthPro, str]:
    """Load weights that answer for pictures without depth, and give their SHA-256, too."""
    import torch

    from depth_pro_ros.network.checkpoint import load_network
    from depth_pro_ros.network.weights import find_weights, sha256

    path = find_weights(weights)
    network = load_network(path).float()
    return network.to('cuda' if torch.cuda.is_available() else 'cpu'), sha256(path)


def check_training(output: Path) -> None:
    """Raise now what would else be raised after hours: no place for the weights, no matplotlib."""
    import matplotlib.figure  # noqa: F401

    check_output('--output', output, '.safetensors')


def check_output(option: str, path: Path, suffix: str) -> None:
    """Make the folder of a file. Raises ValueError for another suffix, WriteError."""
    from depth_pro_ros.images import prepare_folder

    if path.suffix != suffix:
        raise ValueError(f'{option} {path} must end in {suffix}')
    prepare_folder(path.parent)


def run_stages(
    args: argparse.Namespace,
    network: DepthPro,
    frames: Frames,
    held_out: Frames,
    origin: dict[str, str],
) -> int:
    """Train a network, and draw how it went."""
    from depth_pro_ros.training.plot import plot_metrics
    from depth_pro_ros.training.stages import choose
    from depth_pro_ros.training.train import train

    if not len(frames):
        raise ValueError(
            'no frame is left to learn from, as one cannot be both learned from and held out: '
            'give more, or --held-out'
        )
    tiles = network.config.tiles
    stages = choose(args.stage, args.steps, args.batch, args.rate, tiles, args.freeze_vit)
    train(network, frames, held_out, args.output, stages, args.seed, origin)
    plot_metrics(args.output.with_suffix('.metrics.jsonl'), args.output.with_suffix('.metrics.png'))
    return 0
