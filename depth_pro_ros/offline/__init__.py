"""Depth of files, without ROS."""
