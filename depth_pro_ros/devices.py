"""Which device, which arithmetic; threads and memory of this process."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

THREADS = torch.get_num_threads()
"""That torch chose for this machine; `leave_a_core` may be called more than once."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""

CGROUP_LIMIT = Path('/sys/fs/cgroup/memory.max')

MOST_PINNED_BYTES = 128 * 2**20
"""Of arrays in pinned memory that callers have, after which they get no more."""

PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


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
    """Give the dtype of a name; `auto` is fp16 on a GPU, bf16 on a CPU that is faster in it."""
    if precision == 'auto':
        if device.type == 'cuda':
            return torch.float16
        return torch.bfloat16 if cpu_prefers_bf16() else torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"no precision '{precision}': use auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def precision_name(dtype: torch.dtype) -> str:
    """Name the arithmetic: fp32, fp16 or bf16."""
    return next(name for name, each in PRECISIONS.items() if each == dtype)


@functools.cache
def cpu_prefers_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16 faster than float32.

    With AMX it does. AVX512-BF16 alone doubles the rate on AMD's processors and halves it on
    Intel's, so there both are timed once, which takes some 50 ms.
    """
    try:
        flags = set(Path('/proc/cpuinfo').read_text().split())
    except OSError:
        return False
    if 'amx_bf16' in flags or 'avx512_bf16' not in flags:
        return 'amx_bf16' in flags
    return _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype, size: int = 768, rounds: int = 5) -> float:
    """Time a matrix product; the fastest of some rounds, after one to warm up."""
    matrix = torch.ones(size, size, dtype=dtype)
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def keep_exact(device: torch.device, dtype: torch.dtype) -> None:
    """Let fp32 on a GPU be fp32 in this process; cuDNN would take 10 bits of each mantissa."""
    if device.type == 'cuda' and dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False  # which the environment may ask for


class Transfers:
    """Brings arrays to a device and back, through pinned memory, which a GPU reaches by itself.

    Pinned memory is lost to the rest of the machine: who keeps many arrays gets the others in
    ordinary memory, as does a machine that has none to pin.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lent: list[weakref.ref[NDArray[Any]]] = []

    def upload(self, array: NDArray[Any]) -> torch.Tensor:
        """Give an array as a tensor on the device; a CPU shares its memory."""
        tensor = torch.from_numpy(array)
        if self._device.type == 'cuda':
            with contextlib.suppress(RuntimeError):
                return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def download(self, tensor: torch.Tensor) -> Callable[[], NDArray[Any]]:
        """Begin to fetch a tensor of the device; gives what waits for it and gives the array.

        A CPU shares its memory.
        """
        lent = [array for each in self._lent if (array := each()) is not None]
        self._lent = [weakref.ref(array) for array in lent]
        if tensor.is_cuda and sum(array.nbytes for array in lent) < MOST_PINNED_BYTES:
            with contextlib.suppress(RuntimeError):
                host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                array = np.asarray(host.copy_(tensor, non_blocking=True).numpy())
                self._lent.append(weakref.ref(array))
                arrival = torch.cuda.current_stream(tensor.device).record_event()

                def arrived() -> NDArray[Any]:
                    arrival.synchronize()
                    return array

                return arrived
        return lambda: np.asarray(tensor.cpu().numpy())


def whole_memory_bytes() -> int:
    """Give the memory of the machine, or of the container where that may use less."""
    whole = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if CGROUP_LIMIT.exists() and (limit := CGROUP_LIMIT.read_text().strip()).isdigit():
        return min(whole, int(limit))
    return whole


def peak_memory_bytes(device: torch.device) -> int:
    """Give the most memory used so far: torch's on a GPU, the process's on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    _, _, peak = Path('/proc/self/status').read_text().partition('VmHWM:')
    if peak:
        return int(peak.split()[0]) * 1024
    # not in every sandbox; this one a process inherits from the one that started it
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def leave_a_core() -> None:
    """Leave one of four or more cores to the rest of a robot; OMP_NUM_THREADS decides where set."""
    if 'OMP_NUM_THREADS' not in os.environ and THREADS >= 4:
        torch.set_num_threads(THREADS - 1)


def keep_memory() -> None:
    """Let the C library keep what is freed, for work that takes the same memory again and again.

    By default tensors of over 32 MiB go back to the system at once, and every page of the next one
    costs a fault: on a CPU 40 % of a training step, a tenth of a picture at the official size.
    In threads other than the main one, only blocks of up to 64 MiB are kept.
    """
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        library = ctypes.CDLL('libc.so.6')
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_workspaces() -> None:
    """Let go of the memory that cuBLAS keeps for each stream, once no CUDA graph is left.

    Graphs hold it for as long as they live, and torch before 2.15 for ever.
    """
    if torch.cuda.is_initialized() and hasattr(torch._C, '_cuda_clearCublasWorkspaces'):
        torch._C._cuda_clearCublasWorkspaces()


def release_memory() -> None:
    """Give what torch keeps in reserve, and what the C library does, back to the system."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        if hasattr(torch._C, '_host_emptyCache'):  # since torch 2.6
            torch._C._host_emptyCache()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL('libc.so.6').malloc_trim(0)
