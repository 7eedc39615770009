"""Checks of Python, PyTorch, the processor and the libraries beside them."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

from depth_pro_ros.doctor.check import Check, pip_install

OLDEST_PYTHON = (3, 10)
LIBRARIES = {
    'numpy': 'numpy',
    'cv2': 'opencv-python-headless',
    'PIL': 'pillow',
    'safetensors': 'safetensors',
    'timm': 'timm',
    'tqdm': 'tqdm',
}
"""Module -> package of PyPI."""
DRIVER = Path('/proc/driver/nvidia/version')
"""Where the kernel's NVIDIA driver is loaded."""
DEVICE = Path('/dev/nvidiactl')
"""What a container does not have of it unless a GPU is passed to it."""


def check_python() -> Check:
    """Check that this Python is new enough."""
    found = f'{platform.python_version()} ({sys.executable})'
    if sys.version_info < OLDEST_PYTHON:
        return Check('Python', 'fail', found, 'use Python 3.10 or newer')
    return Check('Python', 'ok', found)


def check_torch(device: str) -> Check:
    """Check that PyTorch can be imported, computes, and reaches the GPU that there is."""
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = pip_install('torch torchvision')
        return Check('PyTorch', 'fail', f'cannot be imported: {error}', remedy)
    from depth_pro_ros.devices import choose_device

    built = f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'for CPUs only'
    found = f'{torch.__version__}, {built}'
    try:
        torch.ones(1, device=choose_device(device)).sum().item()
    except (ValueError, RuntimeError, AssertionError) as error:  # absent, or of another CUDA
        reason = str(error).splitlines()[0]
        return Check('PyTorch', 'fail', f'{found}; {reason}', gpu_remedy(torch.version.cuda))
    if DRIVER.exists() and not torch.cuda.is_available():
        found += f'; the machine has an NVIDIA driver ({driver_version()}), but torch sees no GPU'
        return Check('PyTorch', 'warn', found, gpu_remedy(torch.version.cuda))
    return Check('PyTorch', 'ok', found)


def gpu_remedy(cuda: str | None) -> str:
    """Say what to do for torch to see a GPU."""
    if cuda is None:
        return 'install the PyTorch for your CUDA: https://pytorch.org/get-started/locally'
    if not DRIVER.exists():
        return (
            'no NVIDIA driver is loaded: install it, or in a container pass the GPU (docker run '
            '--gpus all); or use device cpu'
        )
    if not DEVICE.exists():
        return 'pass the GPU to this container (docker run --gpus all), or use device cpu'
    return (
        f'update the driver to one for CUDA {cuda}; for an older one, or a GPU from before 2018, '
        'install an older PyTorch: https://pytorch.org/get-started/previous-versions'
    )


def driver_version() -> str:
    """Give the version of the NVIDIA driver."""
    words = DRIVER.read_text().splitlines()[0].split()
    return next((word for word in words if word[0].isdigit()), 'of unknown version')


def check_processor(device: str) -> Check:
    """Check whether a CPU that is to run the network is faster in bfloat16."""
    from depth_pro_ros.devices import choose_device, cpu_prefers_bf16

    try:
        on_cpu = choose_device(device).type == 'cpu'
    except ValueError:
        on_cpu = False  # reported by check_torch
    flags = set(Path('/proc/cpuinfo').read_text().split())
    units = [name for name in ('amx_bf16', 'avx512_bf16', 'avx512f', 'avx2') if name in flags]
    cores = len(os.sched_getaffinity(0))
    found = f'{cpu_name()}, {cores} cores, {" ".join(units) or "no vector units"}'
    if on_cpu and not cpu_prefers_bf16():
        return Check(
            'Processor',
            'warn',
            f'{found}: fp32 arithmetic, as bf16 is no faster here (it is with AMX)',
            "it works, and slowly: use weights 'small', or a GPU",
        )
    return Check('Processor', 'ok', found)


def cpu_name() -> str:
    """Give the name of the CPU."""
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


def check_libraries() -> Check:
    """Check that the libraries are there, and whether a cv_bridge beside them fits this NumPy."""
    name = 'Libraries'
    missing = [each for each in LIBRARIES if importlib.util.find_spec(each) is None]
    if missing:
        packages = ' '.join(LIBRARIES[each] for each in missing)
        return Check(name, 'fail', f'{", ".join(missing)} missing', pip_install(packages))
    import cv2
    import numpy as np

    found = f'NumPy {np.__version__}, OpenCV {cv2.__version__}'
    if importlib.util.find_spec('cv_bridge') is None:
        return Check(name, 'ok', f'{found}, no cv_bridge (the node needs none)')
    command = [sys.executable, '-c', 'import cv_bridge; cv_bridge.CvBridge().cv2_to_imgmsg']
    attempt = subprocess.run(command, capture_output=True, text=True)
    if attempt.returncode == 0:
        return Check(name, 'ok', f'{found}, cv_bridge')
    reason = (attempt.stderr.strip().splitlines() or ['it crashed'])[-1]
    return Check(
        name,
        'warn',
        f'{found}; cv_bridge cannot be imported beside them: {reason}',
        'this node does without it; other nodes here need numpy<2, or a cv_bridge for NumPy 2',
    )
