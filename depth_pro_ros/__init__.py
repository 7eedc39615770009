"""Metric depth from one camera for ROS 2, with Depth Pro (arXiv 2410.02073)."""

__version__ = '0.1.0'
