"""`python -m depth_pro_ros.demo`: the node at work on photographs, in two processes over DDS."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from depth_pro_ros.ros.distributions import stay_on_this_machine

START_TIMEOUT_S = 180.0  # until the first answer: start, load and warm up
PHOTO_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
SHARED_MEMORY_BYTES = 2**29  # what the Fast DDS profile takes of it for three participants
PHOTOS = ('hotel_door', 'hotel_desk', 'hotel_window', 'hotel_bed')

NEXT = """
On a robot, with this package built by colcon in a ROS 2 workspace:
  ros2 launch depth_pro_ros depth_pro.launch.py image:=/camera/image_raw rviz:=true \\
      fixed_frame:=THE_FRAME_ID_OF_THE_IMAGES
With the official Depth Pro weights (1.9 GB, for research only under Apple's licence; a GPU helps):
  ros2 launch depth_pro_ros depth_pro.launch.py image:=/camera/image_raw weights:=depth_pro
Without ROS, for pictures of yours:
  .venv/bin/depth_pro estimate PICTURE.jpg --output depth"""


class DemoError(RuntimeError):
    """The demonstration cannot go on; the message says why."""


def main() -> int:
    """Runs the demonstration; gives the exit code."""
    parser = argparse.ArgumentParser(prog='depth_pro_ros.demo', description=__doc__)
    parser.add_argument('--weights', default='small', help='as of the node (%(default)s)')
    parser.add_argument('--output', type=Path, default=Path('demo'), metavar='DIR')
    args = parser.parse_args()
    for number in (signal.SIGHUP, signal.SIGTERM):  # as of a terminal that is closed
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup lets it
            signal.signal(number, signal.default_int_handler)
    isolate()
    node = start_node(args.weights)
    try:
        run(node, args.output)
    except DemoError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        code = stop_node(node)
    if code != 0:
        print(f'demo: the node ended with exit code {code}', file=sys.stderr)
        return 1
    print(NEXT)
    return 0


def isolate() -> None:
    """Keeps the demonstration's messages on this machine and out of a running robot's."""
    os.environ['ROS_DOMAIN_ID'] = str(10 + os.getpid() % 90)
    stay_on_this_machine()
    profile = Path(__file__).parents[2] / 'config' / 'fastdds_large_messages.xml'
    fits = profile.exists() and shutil.disk_usage('/dev/shm').free > SHARED_MEMORY_BYTES
    for name in ('FASTRTPS', 'FASTDDS'):  # the latter from Kilted on
        os.environ.pop(f'{name}_DEFAULT_PROFILES_FILE', None)  # that of a robot may lead to it
        if fits:
            os.environ[f'{name}_DEFAULT_PROFILES_FILE'] = str(profile)


def start_node(weights: str) -> subprocess.Popen[bytes]:
    """Starts the real node as a process of its own."""
    command = [sys.executable, '-m', 'depth_pro_ros.ros.main']
    parameters = ['--ros-args', '-p', f'weights:={weights}']
    return subprocess.Popen([*command, *parameters], start_new_session=True)  # Ctrl-C is ours


def stop_node(node: subprocess.Popen[bytes]) -> int:
    """Ends the node as Ctrl-C does; gives its exit code."""
    if node.poll() is None:
        node.send_signal(signal.SIGINT)
    try:
        return node.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        node.kill()
        return node.wait()


def run(node: subprocess.Popen[bytes], output: Path) -> None:
    """Shows every photograph to the node and writes what it answered."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from depth_pro_ros.demo import report
    from depth_pro_ros.demo.camera import ANSWERS, RATE_HZ, DemoCamera

    photos = [Path(__file__).parent / 'photos' / f'{name}.jpg' for name in PHOTOS]
    showings = []
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Python's raise KeyboardInterrupt
    try:
        camera = DemoCamera()

        def wait_for(answers: int, timeout_s: float) -> None:
            end = time.monotonic() + timeout_s
            while len(showing.answers()) < answers:
                rclpy.spin_once(camera, timeout_sec=0.1)
                if node.poll() is not None:
                    raise DemoError(f'the node ended with exit code {node.returncode}')
                if time.monotonic() > end:
                    raise DemoError(f'the node gave no answer within {timeout_s:.0f} s')

        showing = camera.show(photos[0])
        wait_for(1, START_TIMEOUT_S)  # not counted: it waited for the network to load
        for photo in photos:
            print(f'{photo.name}: {ANSWERS} answers at {RATE_HZ:.0f} Hz', flush=True)
            showing = camera.show(photo)
            wait_for(ANSWERS, PHOTO_TIMEOUT_S)
            showings.append(showing)
        camera.destroy_node()
    finally:
        rclpy.try_shutdown()

    output.mkdir(parents=True, exist_ok=True)
    report.write_picture(output / 'depth.png', showings)
    count = report.write_cloud(output / 'cloud.ply', showings[0].answers()[-1])
    print(f'\n{report.table(showings)}')
    print('True of all: 320 px, 90°.\n')
    print(f'{output / "depth.png"}: the photographs and their depth')
    print(f'{output / "cloud.ply"}: {count} points of {showings[0].name}')


if __name__ == '__main__':
    sys.exit(main())
