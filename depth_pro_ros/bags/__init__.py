"""rosbag2 in, rosbag2 with metric depth out, through `rosbags`: no ROS installation is needed."""
