"""Depth Pro as a torch module: configuration, network and checkpoints."""

from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.depth_pro import DepthPro, DepthProOutput, stretch

__all__ = ['DepthPro', 'DepthProConfig', 'DepthProOutput', 'stretch']
