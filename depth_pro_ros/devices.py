"""Which device, which arithmetic, and how much of the network at once."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import resource
from pathlib import Path

import torch

PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
MEMORY = ('auto', 'low')


@dataclasses.dataclass(frozen=True)
class Pieces:
    """How much of the network is computed at once: less needs less memory."""

    tile_batch: int | None = None
    """ViT tiles; None: all."""
    strip_rows: int | None = None
    """Rows of the decoder's finest level; None: all."""

    def smaller(self, tiles: int) -> Pieces | None:
        """Give the next smaller pieces, where `tiles` are all; None: there are none."""
        at_once = min(self.tile_batch or tiles, tiles)
        return None if at_once == 1 else Pieces((at_once + 1) // 2, SMALL.strip_rows)


SMALL = Pieces(tile_batch=4, strip_rows=96)
"""What `low` memory takes. On a CPU it is also the fastest: a piece stays in its caches."""


def choose_pieces(memory: str, device: torch.device) -> Pieces:
    """Give the pieces for `memory`: `low` needs the least, `auto` is what is fastest."""
    if memory not in MEMORY:
        raise ValueError(f"no memory '{memory}': use {' or '.join(MEMORY)}")
    return SMALL if memory == 'low' or device.type == 'cpu' else Pieces()


def choose_device(device: str) -> torch.device:
    """Give the device of a name; `auto` is the first GPU, or the CPU where there is none."""
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"no device '{device}': use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ('cpu', 'cuda'):
        raise ValueError(f"no device '{device}': use auto, cpu, cuda or cuda:N")
    if chosen.type == 'cuda' and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' is not there: torch {torch.__version__} sees "
            f'{torch.cuda.device_count()} GPUs; use auto or cpu, or check the driver'
        )
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Give the dtype of a name; `auto` is fp16 on a GPU, bf16 on a CPU with units for it."""
    if precision == 'auto':
        if device.type == 'cuda':
            return torch.float16
        return torch.bfloat16 if cpu_has_bf16() else torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"no precision '{precision}': use auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def precision_name(dtype: torch.dtype) -> str:
    """Name the arithmetic: fp32, fp16 or bf16."""
    return next(name for name, each in PRECISIONS.items() if each == dtype)


def cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16)."""
    try:
        flags = set(Path('/proc/cpuinfo').read_text().split())
    except OSError:
        return False
    return bool(flags & {'amx_bf16', 'avx512_bf16'})


def peak_memory_bytes(device: torch.device) -> int:
    """Give the most memory used so far: torch's on a GPU, the process's on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def leave_a_core() -> None:
    """Leave one of four or more cores to the rest of a robot; OMP_NUM_THREADS decides where set."""
    threads = torch.get_num_threads()
    if 'OMP_NUM_THREADS' not in os.environ and threads >= 4:
        torch.set_num_threads(threads - 1)


def release_memory() -> None:
    """Give what torch keeps in reserve, and what the C library does, back to the system."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        ctypes.CDLL('libc.so.6').malloc_trim(0)
