"""One side in a process of its own, so that its memory is its own."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from depth_pro_ros.bench.sides import SIDES, Setting, own_weights
from depth_pro_ros.devices import choose_device, keep_exact, peak_memory_bytes


@dataclasses.dataclass(frozen=True)
class Timing:
    """One picture through one side."""

    seconds: float
    depth_m: NDArray[np.float32]
    focal_px: float
    peak_bytes: int


class Worker:
    """A process with one side loaded and warm, which runs a picture when told to."""

    def __init__(self, side: str, setting: Setting, rgb: NDArray[np.uint8]) -> None:
        """Start it. Raises RuntimeError with its reason where it cannot load or run."""
        self.side, self.setting = side, setting
        context = multiprocessing.get_context('spawn')
        self._pipe, other = context.Pipe()
        arguments = (other, side, setting, rgb)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        other.close()
        self.facts: dict[str, Any] = self._receive()

    def run(self) -> Timing:
        """Run the picture once. Raises RuntimeError."""
        with contextlib.suppress(OSError):  # it has ended, as `_receive` tells
            self._pipe.send(True)
        return Timing(**self._receive())

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with contextlib.suppress(OSError):
                self._pipe.send(False)  # end, and the compiler's processes with it
                self._process.join(10.0)
        self._process.kill()
        self._process.join()

    def _receive(self) -> dict[str, Any]:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            answer = 'its process ended; the memory may be too small'
        if isinstance(answer, str):
            raise RuntimeError(f'{self.side} in {self.setting.arithmetic}: {answer}')
        assert isinstance(answer, dict)
        return answer


def serve(pipe: Connection, side: str, setting: Setting, rgb: NDArray[np.uint8]) -> None:
    """Load a side, warm it up, and run the picture as often as asked."""
    try:
        target = choose_device(setting.device)
        keep_exact(target, torch.float32)  # which is the reference
        with tempfile.TemporaryDirectory() as folder:
            weights = own_weights(side, setting.weights, Path(folder))
            began = time.perf_counter()
            run = SIDES[side](dataclasses.replace(setting, weights=weights))
            loaded = time.perf_counter()
        # on a GPU ours records a CUDA graph the second time, and compiled sides do
        for _ in range(3 if setting.compile_mode or target.type == 'cuda' else 1):
            run(rgb)
        warm = time.perf_counter()
        pipe.send({'load_s': loaded - began, 'warm_up_s': warm - loaded})
        while pipe.recv():
            began = time.perf_counter()
            depth_m, focal_px = run(rgb)
            seconds = time.perf_counter() - began
            peak = peak_memory_bytes(target)
            pipe.send(
                {
                    'seconds': seconds,
                    'depth_m': depth_m,
                    'focal_px': focal_px,
                    'peak_bytes': peak,
                }
            )
    except EOFError:
        pass
    except Exception as error:
        pipe.send(f'{type(error).__name__}: {error}'[:300])
