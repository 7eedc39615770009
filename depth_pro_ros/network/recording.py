"""The network as a CUDA graph: one launch a picture in place of a thousand."""

from __future__ import annotations

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
                self.clear()  # their memory and that of this do not always fit
                output = network(images, *arguments)
                self._known.add(key)
                return output
            recording = self._recordings.get(key)
            if recording is None:
                recording = self._record(network, images, arguments)
            if recording is None:
                return network(images, *arguments)
            self._recordings[key] = recording
            recording.images.copy_(images)
            recording.graph.replay()
            return recording.output

    def __len__(self) -> int:
        return len(self._recordings)

    def clear(self) -> None:
        """Forget all graphs, and free their memory and what torch keeps beside it."""
        self._recordings.clear()
        torch.cuda.empty_cache()

    def _record(
        self, network: Network, images: Tensor, arguments: tuple[Any, ...]
    ) -> Recording | None:
        """Record a graph; gives None where this GPU or this torch cannot."""
        if not self._works:
            return None
        self._stream = self._stream or torch.cuda.Stream(self._device)
        graph, images = torch.cuda.CUDAGraph(), images.clone()
        pools = [each.graph.pool() for each in self._recordings.values()]
        recorder = torch.cuda.graph(
            graph,
            pool=pools[0] if pools else None,  # all in the same memory
            stream=self._stream,
            capture_error_mode='thread_local',
        )
        try:
            with recorder:
                output = network(images, *arguments)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().partition('\n')[0]
            logger.warning('the network runs without CUDA graphs, and so slower: %s', reason)
            self._works = False
            return None
        return Recording(graph, images, output)
