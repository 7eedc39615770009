"""The `depth_pro` command."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from depth_pro_ros import __version__
from depth_pro_ros.commands.bag import add_bag
from depth_pro_ros.commands.bench import add_bench
from depth_pro_ros.commands.doctor import add_doctor
from depth_pro_ros.commands.offline import add_estimate, add_evaluate
from depth_pro_ros.commands.training import add_distil, add_rooms, add_train

EXTRAS = {
    'OpenEXR': 'exr',
    'cv2': 'opencv',
    'h5py': 'evaluate',
    'matplotlib': 'train',
    'moderngl': 'train',
    'onnx': 'train',
    'ray': 'ray',
    'rich': 'evaluate',
    'rosbags': 'bag',
    'scipy': 'evaluate',
}
"""Module that not everybody has -> the extra of this package that brings it."""


@contextmanager
def ending_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, as batch systems send it, do what Ctrl-C does: keep what is finished."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may take signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code, 1 where something failed.

    Wrong usage ends in argparse's SystemExit, with 2.
    """
    parser = argparse.ArgumentParser(
        prog='depth_pro', description='Metric depth from one camera, with Depth Pro.'
    )
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for add in (
        add_estimate,
        add_evaluate,
        add_bag,
        add_doctor,
        add_bench,
        add_rooms,
        add_train,
        add_distil,
    ):
        add(commands)
    args = parser.parse_args(argv)
    try:
        with ending_as_interrupted():
            code: int = args.run(args)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or '').split('.')[0])
        package = f'depth_pro_ros[{extra}]' if extra else error.name
        print(f"depth_pro: {error.name} is missing: pip install '{package}'", file=sys.stderr)
        code = 1
    except (RuntimeError, ValueError, ArithmeticError, OSError) as error:
        print(f'depth_pro: {error}', file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print('depth_pro: interrupted; finished files are kept', file=sys.stderr)
        code = 130
    return code


if __name__ == '__main__':
    sys.exit(main())
