"""Starts the node; a signal ends the process cleanly from its first moment on."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run `depth_pro_node`: exit code 0 after Ctrl-C or SIGTERM, 1 after a failure."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))  # until the node takes over
    from depth_pro_ros.ros.run import run

    return run()


if __name__ == '__main__':
    sys.exit(main())
