"""Who may import whom: the dependency rule of the package, read from its source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'depth_pro_ros'
FILES = sorted(path for path in PACKAGE.rglob('*.py'))
ROS = {
    *('rclpy', 'sensor_msgs', 'std_msgs', 'std_srvs', 'lifecycle_msgs'),
    *('diagnostic_msgs', 'rcl_interfaces'),
}
LAUNCH = {'launch', 'launch_ros'}
"""Not among the ROS wheels: the node must run without them."""
CLI = {'cli', 'commands'}
PROGRAMS = {'bags', 'bench', *CLI, 'demo', 'doctor', 'evaluation', 'offline', 'ros', 'training'}
"""What stands on the estimator."""

FORBIDDEN = {
    'network': {'estimator', 'camera', 'images', *PROGRAMS},
    'devices': {'network', 'estimator', 'camera', 'images', *PROGRAMS},
    'estimator': {'images', *PROGRAMS},
    'camera': {'network', 'estimator', 'images', *PROGRAMS},
    'images': {'network', 'estimator', *PROGRAMS},
    'offline': {'evaluation', *CLI, 'ros', 'training', 'demo'},
    'evaluation': {'offline', *CLI, 'ros', 'training', 'demo'},
    'bags': {'evaluation', *CLI, 'training', 'demo', 'doctor'},
    'bench': {'offline', 'evaluation', 'bags', *CLI, 'ros', 'training', 'demo', 'doctor'},
    'doctor': {'offline', 'evaluation', 'bags', *CLI, 'training', 'demo'},
    'decoding': {'network', 'estimator', 'images', *PROGRAMS},
    'camera_info': {'network', 'estimator', 'images', *PROGRAMS},
    'point_cloud': {'network', 'estimator', 'images', *PROGRAMS},
    'focal': {'network', 'estimator', 'camera', 'images', *PROGRAMS},
    'scale': {'network', 'estimator', 'images', *PROGRAMS},
    'scan': {'network', 'estimator', 'images', *PROGRAMS},
    'still': {'network', 'estimator', 'camera', 'images', *PROGRAMS},
    'edges': {'network', 'estimator', 'camera', 'images', *PROGRAMS},
    'calibration_file': {'network', 'estimator', *PROGRAMS},
    'compressed_depth': {'network', 'estimator', 'camera', 'images', *PROGRAMS},
    'training': {'estimator', 'offline', *CLI, 'ros', 'demo'},
    'ros': {'offline', 'evaluation', 'bags', *CLI, 'training', 'demo'},
}
"""Part of the package -> the parts it must not import."""


def imported(path: Path) -> set[str]:
    """Give every module that a file imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            names |= {node.module} | {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path):
    names = imported(path)
    own = {name.split('.')[1] for name in names if name.startswith('depth_pro_ros.')}
    assert not own & FORBIDDEN.get(part_of(path), set())
    if part_of(path) not in ('ros', 'demo'):
        assert not {name.split('.')[0] for name in names} & ROS


def test_only_launch_files_load_what_only_ros_installations_have():
    users = {path.name for path in FILES if LAUNCH & {n.split('.')[0] for n in imported(path)}}
    assert users == {'launching.py'}
    assert not [path for path in FILES if 'depth_pro_ros.ros.launching' in imported(path)]
    for path in (PACKAGE.parent / 'launch').glob('*.py'):
        assert 'depth_pro_ros.ros.launching' in imported(path), path


@pytest.mark.parametrize(
    ('module', 'absent'),
    [
        ('depth_pro_ros', {'torch', 'numpy', 'rclpy'}),
        ('depth_pro_ros.cli', {'torch', 'numpy', 'rclpy'}),
        ('depth_pro_ros.ros.parameters', {'torch', 'rclpy'}),
        ('depth_pro_ros.ros.distributions', {'torch', 'numpy', 'rclpy'}),
        ('depth_pro_ros.camera', {'torch', 'rclpy'}),
        ('depth_pro_ros.decoding', {'torch', 'rclpy'}),
        ('depth_pro_ros.bags.options', {'torch', 'numpy', 'rosbags', 'rclpy'}),
        ('depth_pro_ros.doctor.middleware', {'torch', 'numpy', 'rclpy'}),
        ('depth_pro_ros.evaluation.metrics', {'torch', 'cv2'}),
        ('depth_pro_ros.evaluation.datasets', {'torch', 'h5py', 'scipy'}),
        ('depth_pro_ros.focal', {'torch', 'numpy', 'rclpy'}),
        ('depth_pro_ros.scale', {'torch', 'rclpy'}),
        ('depth_pro_ros.scan', {'torch', 'rclpy'}),
        ('depth_pro_ros.still', {'torch', 'rclpy'}),
        ('depth_pro_ros.compressed_depth', {'torch', 'rclpy'}),
    ],
)
def test_light_modules_stay_light(module, absent):
    code = f'import sys, {module}; print(*sys.modules)'
    loaded = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert not absent & set(loaded.stdout.split())
