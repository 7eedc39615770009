"""Checks of the ROS installation, and of Fast DDS's shared memory against our messages."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from depth_pro_ros.doctor.check import Check

SEGMENT_BYTES = 512 * 1024
"""Fast DDS's shared memory without a profile; a message that is larger goes over UDP."""
SHARED_MEMORY = Path('/dev/shm')
PROFILE = 'config/fastdds_large_messages.xml'
FASTRTPS = ('humble', 'iron', 'jazzy')
"""Distributions whose Fast DDS has its old name in the variable for a profile, and in a file."""


def check_ros() -> tuple[Check, str | None]:
    """Check that rclpy and the message packages can be imported; gives the name of the RMW, too."""
    # in a process of its own: rcl ends the process where the chosen RMW is not installed
    code = 'from depth_pro_ros.ros.graph import rmw_name; print(rmw_name())'
    attempt = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if attempt.returncode != 0:
        reason = (attempt.stderr.strip().splitlines() or ['it crashed'])[-1]
        return Check('ROS 2', 'fail', f'rclpy does not work: {reason}', ros_remedy(reason)), None
    rmw = attempt.stdout.split()[-1]
    distro = os.environ.get('ROS_DISTRO') or wheels_distro()
    return Check('ROS 2', 'ok', f'{distro}, {rmw}'), rmw


def ros_remedy(reason: str) -> str:
    """Say how to get a ROS that works."""
    chosen = os.environ.get('RMW_IMPLEMENTATION')
    if chosen and 'rmw' in reason:
        return f'install {chosen}, or unset RMW_IMPLEMENTATION'
    if os.environ.get('ROS_DISTRO'):
        return (
            f'ROS {os.environ["ROS_DISTRO"]} is sourced, for another Python than '
            f'{sys.version_info[0]}.{sys.version_info[1]}: use its Python (/usr/bin/python3)'
        )
    if installed := sorted(Path('/opt/ros').glob('*/setup.bash')):
        return f'source {installed[-1]}, and in a checkout make setup again'
    return (
        "source a ROS 2 installation, or pip install 'depth_pro_ros[ros-jazzy]'; `depth_pro "
        'estimate` and `depth_pro bag` do without ROS'
    )


def wheels_distro() -> str:
    """Name the distribution of ROS wheels."""
    from importlib.metadata import distributions

    names = {str(each.metadata['Name']) for each in distributions()}
    found = sorted(name.split('-')[1] for name in names if name.endswith('-rclpy'))
    return f'{found[0]} from wheels' if found else 'of an unknown distribution'


def check_shared_memory(rmw: str, width: int, height: int) -> Check:
    """Check whether depth of images of a size fits into the middleware's shared memory."""
    name, message = 'Large messages', 4 * width * height
    size = f'depth of {width}x{height} takes {mib(message)} a message'
    if not rmw.startswith('rmw_fastrtps'):
        return Check(name, 'ok', f'{size}; {rmw} needs no profile of ours')
    profile = active_profile()
    try:
        segment = segment_bytes(profile)
    except (OSError, ET.ParseError) as error:
        return Check(name, 'warn', f'{profile} cannot be read: {error}', profile_remedy())
    found = f'{size}; shared memory of Fast DDS {mib(segment)} ({profile or "no profile"})'
    if segment < message:
        return Check(
            name,
            'warn',
            f'{found}: best-effort subscribers of larger messages lose most of them',
            profile_remedy(),
        )
    room = os.statvfs(SHARED_MEMORY)
    free = room.f_bavail * room.f_frsize
    if free < segment:
        return Check(
            name,
            'warn',
            f'{found}, but {SHARED_MEMORY} has {mib(free)} free',
            'in a container: docker run --ipc=host, or --shm-size=1g; else end processes that use '
            'it, or remove what crashed ones left: fastdds shm clean',
        )
    return Check(name, 'ok', found)


def active_profile() -> Path | None:
    """Give the profile that Fast DDS would read here."""
    name = fast_dds()
    if chosen := os.environ.get(f'{name}_DEFAULT_PROFILES_FILE'):
        return Path(chosen)
    in_folder = Path(f'DEFAULT_{name}_PROFILES.xml')
    return in_folder if in_folder.exists() else None


def fast_dds() -> str:
    """Give the name that Fast DDS has for itself in this distribution."""
    distro = os.environ.get('ROS_DISTRO') or wheels_distro().partition(' ')[0]
    return 'FASTRTPS' if distro in FASTRTPS else 'FASTDDS'


def segment_bytes(profile: Path | None) -> int:
    """Give the shared memory segment of a profile, or Fast DDS's own where it says nothing."""
    if profile is None:
        return SEGMENT_BYTES
    sizes = [
        int(element.text or 0)
        for element in ET.parse(profile).iter()
        if element.tag.rpartition('}')[2] == 'segment_size'
    ]
    return max(sizes, default=SEGMENT_BYTES)


def profile_remedy() -> str:
    """Say how to use the profile that ships."""
    shares = [Path(each) / 'share' for each in os.environ.get('AMENT_PREFIX_PATH', '').split(':')]
    places = [share / 'depth_pro_ros' for share in (*shares, Path(sys.prefix) / 'share')]
    places.append(Path(__file__).parents[2])
    profile = next((each / PROFILE for each in places if (each / PROFILE).exists()), Path(PROFILE))
    return (
        'for this node and for every process that receives from it: export '
        f'{fast_dds()}_DEFAULT_PROFILES_FILE={profile}'
    )


def mib(count: int) -> str:
    """Give bytes as MiB, for people."""
    return f'{count / 2**20:.1f} MiB'
