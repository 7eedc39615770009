"""`depth_pro doctor`: whether the node would run here, and what to do where it would not."""
