"""Makes .venv ready for make and for a user's shell; needs Python's standard library only.

With a ROS installation sourced, the environment sees the system's packages and keeps its NumPy and
OpenCV, which cv_bridge was built against, and a PyTorch that was built for a GPU, as NVIDIA's for a
Jetson. Without one, the ROS wheels of PyPI take its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / 'setup-stamp'
WHEEL_PYTHONS = ((3, 10), (3, 13))  # first and last that the ROS wheels are built for

# Debian's package for a shared library that a wheel expects on the system
APT_PACKAGES = {
    'libGL.so.1': 'libgl1',
    'libatomic.so.1': 'libatomic1',
    'libgcc_s.so.1': 'libgcc-s1',
    'libglib-2.0.so.0': 'libglib2.0-0',
    'libgomp.so.1': 'libgomp1',
    'libstdc++.so.6': 'libstdc++6',
    'libz.so.1': 'zlib1g',
}

GPU_TORCH = """
import torch, torchvision
assert torch.version.cuda and tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 4)
"""

PROBE = """
import torch, cv2, rclpy
rclpy.init()
rclpy.create_node('probe').destroy_node()
rclpy.shutdown()
"""


def main() -> None:
    """Creates and fills .venv unless its stamp says that nothing has changed since."""
    if re.search(r'\s', str(ROOT)):
        sys.exit(f'colcon cannot build in a folder with a space in its path, as {ROOT}: move it')
    distro = sourced_ros()
    wheels = os.environ.get('ROS_WHEELS', 'jazzy')
    check_python(uses_wheels=distro is None)
    kept = versions_of_system() if distro else {}
    origin = f'sourced {distro}' if distro else f'wheels {wheels}'
    ros = ' '.join([origin, *map('=='.join, kept.items())])
    stamp = fingerprint(ros)
    if STAMP.exists() and STAMP.read_text() == stamp:
        return

    print(f'setting up .venv (ROS: {ros}); the first time takes 6 GB of disk', flush=True)
    if not fits(ros):
        create_venv(system_site_packages=bool(distro))
    extras = ['bag', 'evaluate', 'exr', 'train', 'test']
    if distro is None:
        extras += ['opencv', f'ros-{wheels}']
    elif not runs('import cv2'):
        extras += ['opencv']
    if 'torch' in kept and not runs(GPU_TORCH, sys.executable):
        kept = {name: version for name, version in kept.items() if 'torch' not in name}
    install(extras, constraints(kept))
    probe()
    STAMP.write_text(stamp)


def sourced_ros() -> str | None:
    """Gives the name of the ROS distribution in this shell, or None without one."""
    distro = os.environ.get('ROS_DISTRO')
    # imported and not looked for: a Python of another version finds it, too, and cannot use it
    if distro and not runs('import rclpy', sys.executable):
        system = '/usr/bin/python3'
        advice = (
            f'apt-get install ros-{distro}-rclpy'
            if os.path.realpath(sys.executable) == os.path.realpath(system)
            else f'run make PYTHON={system}'
        )
        sys.exit(f'ROS {distro} is sourced but {sys.executable} has no rclpy: {advice}')
    return distro


def check_python(uses_wheels: bool) -> None:
    """Ends with one line that says what to install when this Python cannot do the job."""
    version = sys.version_info[:2]
    name = 'python{}.{}'.format(*version)
    first, last = WHEEL_PYTHONS
    if version < first:
        sys.exit(f'{name} is too old: Python 3.10 or newer is needed (make PYTHON=python3.12)')
    if uses_wheels and version > last:
        sys.exit(
            f'there are no ROS wheels for {name}: source a ROS installation, or use an older '
            'Python (make PYTHON=python3.13)'
        )
    if uses_wheels and platform.machine() != 'x86_64':
        sys.exit(
            f'there are no ROS wheels for {platform.machine()}: source a ROS installation first'
        )
    if importlib.util.find_spec('ensurepip') is None:
        sys.exit(f'{name} cannot make virtual environments: apt-get install {name}-venv')


def fingerprint(ros: str) -> str:
    """Gives a digest of everything the content of .venv depends on, its folder included."""
    digest = hashlib.sha256(f'{ros} {sys.version_info[:2]} {ROOT}'.encode())
    for name in ('constraints.txt', 'setup.py', 'tools/setup_venv.py'):
        digest.update((ROOT / name).read_bytes())
    return f'{ros}\n{digest.hexdigest()}'


def fits(ros: str) -> bool:
    """Tells whether the .venv there is whole, of this Python, and was not made for another ROS.

    Nor in another folder: the programs in it would start that one's Python, if there still is one.
    """
    try:
        command = [VENV / 'bin' / 'pip', '--version']
        pip = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
        config = (VENV / 'pyvenv.cfg').read_text()
    except (OSError, subprocess.CalledProcessError):
        return False
    place = Path(pip.partition(' from ')[2].partition(' (python')[0])
    system = str(ros.startswith('sourced')).lower()
    return (
        VENV.resolve() in place.resolve().parents
        and 'version = {}.{}.'.format(*sys.version_info[:2]) in config
        and f'include-system-site-packages = {system}' in config
        and not (STAMP.exists() and STAMP.read_text().splitlines()[:1] != [ros])
    )


def create_venv(system_site_packages: bool) -> None:
    """Makes an empty .venv in place of whatever is there."""
    builder = venv.EnvBuilder(
        system_site_packages=system_site_packages, clear=True, symlinks=True, with_pip=True
    )
    if VENV.is_symlink():
        sys.exit(f'{VENV} is a link to no environment that fits: remove it')
    builder.create(VENV)


def runs(code: str, python: str | Path = PYTHON) -> bool:
    """Tells whether a Python, that of .venv, runs code without an error."""
    return subprocess.run([python, '-c', code], stderr=subprocess.DEVNULL).returncode == 0


def versions_of_system() -> dict[str, str]:
    """Gives the versions of those of the system's packages that may stay."""
    versions = {}
    for name in ('numpy', 'torch', 'torchvision'):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def constraints(kept: dict[str, str]) -> Path:
    """Gives the constraints file to use: the versions that are kept win over those pinned."""
    pinned = ROOT / 'constraints.txt'
    if not kept:
        return pinned
    free = {*kept}
    if tuple(map(int, kept.get('numpy', '9.9').split('.')[:2])) < (1, 24):  # Ubuntu 22.04
        free |= {'matplotlib', 'onnx', 'scipy'}  # those that are pinned want a newer one
    lines = [
        line for line in pinned.read_text().splitlines() if line.partition('==')[0] not in free
    ]
    merged = VENV / 'constraints.txt'
    merged.write_text('\n'.join([*lines, *map('=='.join, kept.items()), '']))
    return merged


def install(extras: list[str], constraints_file: Path) -> None:
    """Installs this package, editable, and all it needs."""
    command = [PYTHON, '-m', 'pip', 'install', '--constraint', constraints_file]
    if not sys.stdout.isatty():
        command += ['--quiet']
    command += ['--editable', f'{ROOT}[{",".join(extras)}]']
    room = VENV / 'tmp'  # /tmp may be half of the memory, and the wheels take 3 GB
    room.mkdir(exist_ok=True)
    environment = os.environ | {'TMPDIR': str(room)}
    succeeded = subprocess.run(command, env=environment).returncode == 0
    if succeeded and not (VENV / 'bin' / 'colcon').exists():  # as the system has one
        again = ['--ignore-installed', '--force-reinstall', '--no-deps', 'colcon-core']
        succeeded = subprocess.run([*command[:6], *again], env=environment).returncode == 0
    shutil.rmtree(room, ignore_errors=True)
    if not succeeded:
        sys.exit('pip could not install what constraints.txt names; its message is above')


def probe() -> None:
    """Imports the compiled packages once; names the Debian package of a missing library."""
    result = subprocess.run([PYTHON, '-c', PROBE], capture_output=True, text=True)
    if result.returncode == 0:
        return
    message = (result.stderr.strip() or 'the imports crashed').splitlines()[-1]
    missing = re.search(r'(\S+\.so[.\d]*): cannot open shared object file', result.stderr)
    if missing is None:
        sys.exit(f'.venv does not work: {message}')
    library = missing[1]
    package = APT_PACKAGES.get(library, f'the package that holds {library}')
    sys.exit(f'a shared library is missing, {library}: apt-get install {package}')


if __name__ == '__main__':
    main()
