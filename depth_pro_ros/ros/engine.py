"""The network at work: loaded, run, and after trouble with its device loaded anew."""

from __future__ import annotations

import gc
import logging
import math
import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.ros.diagnostics import Health
from depth_pro_ros.ros.parameters import NodeParameters

if TYPE_CHECKING:
    from depth_pro_ros.estimator import DepthEstimator, DepthPrediction

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between trouble and the first try to go on, doubled with each try in vain."""


class NetworkDownError(RuntimeError):
    """The network does not work at present; diagnostics say why."""


def let_go(error: BaseException) -> None:
    """Let the frames that an error came through let go of what they hold: network and maps."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


class Engine:
    """The network on its device. All of it is used from the worker thread alone.

    What is wrong with a picture is the caller's affair (ValueError). Anything else, such as memory
    that is full, a device that is lost or an answer that is not finite, is trouble: the network is
    given up, an ERROR stands in the diagnostics, and it is loaded anew after a pause.
    """

    def __init__(self, parameters: NodeParameters, health: Health) -> None:
        self._parameters = parameters
        self._health = health
        self.estimator: DepthEstimator | None = None
        self._pause_s = FIRST_PAUSE_S
        self._retry_s = -math.inf
        self._troubles = 0
        """In a row."""

    def forget(self) -> None:
        """Forget trouble; not while the worker runs."""
        self._pause_s, self._retry_s, self._troubles = FIRST_PAUSE_S, -math.inf, 0
        self._health.trouble = None

    def load(self) -> None:
        """Load and warm up the network. Raises what the estimator raises."""
        from depth_pro_ros.devices import leave_a_core  # imports torch, which takes seconds
        from depth_pro_ros.estimator import DepthEstimator

        parameters = self._parameters
        leave_a_core()
        estimator = DepthEstimator.from_pretrained(
            parameters.weights, parameters.device, parameters.precision, parameters.memory
        )
        estimator.warm_up()
        self.estimator = estimator
        self._health.fact('device', estimator.device_name)
        self._health.fact('precision', estimator.precision)
        self._health.fact('weights', parameters.weights)

    def free(self) -> None:
        """Give back the memory of the network, as far as its device lets it."""
        self.estimator = None
        gc.collect()
        try:
            from depth_pro_ros.devices import release_memory, release_workspaces

            release_workspaces()
            release_memory()
        except Exception as error:  # a lost device refuses this
            logger.warning(f'the memory of the network is not given back: {error}')

    def predict(
        self, rgb: NDArray[np.uint8], focal_px: float | None, **options: Any
    ) -> DepthPrediction:
        """Give the estimator's prediction. Raises NetworkDownError while there is trouble."""
        from depth_pro_ros.devices import peak_memory_bytes

        estimator = self.estimator or self._load_anew()
        try:
            prediction = estimator.predict(rgb, focal_px, **options)
        except ValueError:
            raise
        except Exception as error:
            del estimator
            raise self._give_up(error) from error
        self._pause_s, self._troubles = FIRST_PAUSE_S, 0
        self._health.trouble = None
        peak_bytes = peak_memory_bytes(estimator.device)
        self._health.fact('memory peak (MiB)', f'{peak_bytes / 2**20:.0f}')
        return prediction

    def _load_anew(self) -> DepthEstimator:
        if time.monotonic() < self._retry_s:
            raise NetworkDownError(self._health.trouble or 'the network is down')
        try:
            self.load()
        except Exception as error:
            raise self._give_up(error) from error
        assert self.estimator is not None
        return self.estimator

    def _give_up(self, error: Exception) -> NetworkDownError:
        pause_s, self._pause_s = self._pause_s, min(2.0 * self._pause_s, LONGEST_PAUSE_S)
        self._retry_s = time.monotonic() + pause_s
        reason = ' '.join((str(error) or type(error).__name__).split())[:300]
        self._health.trouble = (
            f'no depth: {reason}; the network is loaded anew in {pause_s:.0f} s; if that goes on, '
            'restart the node: a process cannot regain a lost GPU'
        )
        self._troubles += 1
        self._health.troubles = self._troubles
        logger.error(self._health.trouble)
        let_go(error)
        self.free()
        return NetworkDownError(self._health.trouble)
