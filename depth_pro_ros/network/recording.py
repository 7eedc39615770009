"""The network as a CUDA graph: one launch a picture in place of a thousand."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from depth_pro_ros.network.depth_pro import DepthProOutput

logger = logging.getLogger(__name__)

Network = Callable[..., DepthProOutput]


class Recording(NamedTuple):
    """What replaying a graph takes and gives."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    output: DepthProOutput


class Recordings:
    """Runs a network on one GPU: at first as it is, the next time as a graph.

    All of it on one thread. An answer holds until the next picture.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._known: set[tuple[Any, ...]] = set()
        """What was run once, so that libraries and compiler are ready for it."""
        self._recordings: dict[tuple[Any, ...], Recording] = {}
        self._works = True

    def run(self, network: Network, images: Tensor, *arguments: Any) -> DepthProOutput:
        """Give network(images, *arguments). Raises torch.cuda.OutOfMemoryError."""
        key = (*images.shape, *arguments)
        with torch.cuda.device(self._device):
            if key not in self._known:
                self._free()  # their memory and that of this do not always fit
                output = network(images, *arguments)
                self._known.add(key)
                return output
            if self._works and key not in self._recordings:
                self._record(key, network, images, arguments)
            if not self._works:
                return network(images, *arguments)
            recording = self._recordings[key]
            recording.images.copy_(images)
            recording.graph.replay()
            return recording.output

    def stop(self, reason: object) -> None:
        """Forget all graphs, and record none any more."""
        self._works = False
        self._free()
        line = str(reason).strip().partition('\n')[0]
        logger.warning('the network runs without CUDA graphs from now on, and so slower: %s', line)

    def __len__(self) -> int:
        return len(self._recordings)

    def _free(self) -> None:
        self._recordings.clear()
        with contextlib.suppress(RuntimeError):  # after a failure some versions of torch refuse
            torch.cuda.empty_cache()

    def _record(
        self,
        key: tuple[Any, ...],
        network: Network,
        images: Tensor,
        arguments: tuple[Any, ...],
    ) -> None:
        """Record a graph; stops where memory, this GPU or this torch do not allow it."""
        self._stream = self._stream or torch.cuda.Stream(self._device)
        before = torch.cuda.current_stream()
        pools = [each.graph.pool() for each in self._recordings.values()]
        try:
            graph, images = torch.cuda.CUDAGraph(), images.clone()
            with torch.cuda.graph(
                graph,
                pool=pools[0] if pools else None,  # all in the same memory
                stream=self._stream,
                capture_error_mode='thread_local',
            ):
                output = network(images, *arguments)
            self._recordings[key] = Recording(graph, images, output)
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # some versions of torch do not
            self.stop(error)
