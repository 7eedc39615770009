"""What a user chooses for bags, declared once; importing this takes neither torch nor rosbags."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from depth_pro_ros.ros.parameters import NodeParameters

if TYPE_CHECKING:
    from depth_pro_ros.estimator import DepthEstimator

STORAGES = {'mcap': '.mcap', 'sqlite3': '.db3'}
"""Storage plugin of rosbag2 -> suffix of its files."""


class BagError(RuntimeError):
    """A bag that cannot be read or written; the message says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """Which network runs where; it can be sent to another machine, unlike the network."""

    weights: str
    device: str
    precision: str
    memory: str = 'auto'

    def load(self) -> DepthEstimator:
        """Load the network."""
        from depth_pro_ros.estimator import DepthEstimator

        return DepthEstimator.from_pretrained(
            self.weights, self.device, self.precision, self.memory
        )


@dataclasses.dataclass(frozen=True)
class BagOptions:
    """What is read of a bag, and what is written; outputs and their defaults are the node's."""

    topic: str | None = None
    """Image topic; None: the only one there is."""
    camera_info: str | None = None
    """CameraInfo topic; None: the one beside the image topic, if it is there."""
    focal_px: float | None = None
    """Focal length of every image in pixels; None: CameraInfo's, else the network's."""
    rectify: bool = NodeParameters.rectify
    start_s: float = 0.0
    """Since the beginning of the bag."""
    duration_s: float = math.inf
    every: int = 1
    """Every how many images there is depth."""
    storage: str | None = None
    """One of STORAGES; None: by the suffix of the output, else mcap."""
    only_new: bool = False
    """Leave the original topics out."""
    compressed: bool = False
    """Depth as compressedDepth instead of 32FC1."""
    points: bool = False
    cloud_stride: int = NodeParameters.cloud_stride
    min_depth: float = NodeParameters.min_depth
    max_depth: float = NodeParameters.max_depth
    """Nearer is -Inf, farther is +Inf, in metres."""
    namespace: str = '/depth_pro'
    """Where the new topics are."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be done."""
        rules = {
            f'--every {self.every} is not positive': self.every >= 1,
            f'--start {self.start_s} is not a time in the bag': 0.0 <= self.start_s < math.inf,
            f'--duration {self.duration_s} is not positive': self.duration_s > 0.0,
            f'--cloud-stride {self.cloud_stride} is not positive': self.cloud_stride >= 1,
            f'--min-depth {self.min_depth} and --max-depth {self.max_depth} are no range': (
                0.0 <= self.min_depth < self.max_depth < math.inf
            ),
            f'--focal-px {self.focal_px} is not positive': (
                self.focal_px is None or 0.0 < self.focal_px < math.inf
            ),
            '--focal-px takes the images as rectified, without a CameraInfo: '
            'leave --rectify and --camera-info out': (
                self.focal_px is None or not self.rectify and self.camera_info is None
            ),
            f"--namespace '{self.namespace}' is not like /depth_pro": (
                re.fullmatch(r'(/[A-Za-z_]\w*)+', self.namespace, re.ASCII) is not None
            ),
        }
        for fault, fine in rules.items():
            if not fine:
                raise ValueError(fault)

    def storage_of(self, output: Path) -> str:
        """Give the storage plugin of an output. Raises BagError where its suffix says another."""
        by_suffix = {suffix: name for name, suffix in STORAGES.items()}.get(output.suffix)
        if self.storage and by_suffix and self.storage != by_suffix:
            raise BagError(
                f'{output} is a name for {by_suffix}: use {output.with_suffix("")} with --storage '
                f'{self.storage}'
            )
        return self.storage or by_suffix or 'mcap'
