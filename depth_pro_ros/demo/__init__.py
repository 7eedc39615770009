"""The demonstration: photographs in over DDS; depth, intrinsics and a point cloud out.

Beside `ros`, the only folder that imports rclpy: it is a camera and a consumer of the node.
"""
