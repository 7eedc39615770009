"""Installs depth_pro_ros with pip or, as a ROS package, with colcon."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'depth_pro_ros'
VERSION = re.search(r"__version__ = '(.+)'", Path(NAME, '__init__.py').read_text())[1]


def ros_wheels(distro: str) -> list[str]:
    """Gives the ROS packages a machine without a ROS installation takes from PyPI."""
    packages = (
        'rclpy rmw-fastrtps-cpp diagnostic-msgs lifecycle-msgs rcl-interfaces sensor-msgs '
        'std-msgs std-srvs'
    )
    return [f'ros-{distro}-{package}' for package in packages.split()]


setup(
    name=NAME,
    version=VERSION,
    description='Metric depth from a single camera for ROS 2, with Depth Pro',
    license='Apache-2.0',
    maintainer='depth_pro_ros maintainers',
    maintainer_email='maintainers@depth-pro-ros.invalid',
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['weights/*.safetensors', 'demo/photos/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml', 'LICENSE', 'NOTICE']),
        (f'share/{NAME}/launch', glob('launch/*.launch.py')),
        (f'share/{NAME}/config', glob('config/*')),
    ],
    install_requires=[
        'numpy>=1.21',
        'pillow>=9.3',
        'safetensors>=0.4',
        'timm>=1.0.21',
        'torch>=2.4',
        'tqdm>=4.57',
    ],
    extras_require={
        # OpenCV is required too: a ROS installation brings it, elsewhere it comes from here
        'opencv': ['opencv-python-headless>=4.5'],
        'ros-jazzy': ros_wheels('jazzy'),
        'ros-kilted': ros_wheels('kilted'),
        'bag': ['rosbags>=0.11'],
        'ray': ['rosbags>=0.11', 'ray>=2.9'],
        'exr': ['openexr>=3.3'],
        'evaluate': ['h5py>=3.6', 'rich>=12', 'scipy>=1.8'],
        'train': [
            'matplotlib>=3.6',
            'moderngl>=5.8; platform_machine == "x86_64"',
            'onnx>=1.15',
            'rosbags>=0.11',
        ],
        'test': [
            'colcon-common-extensions',
            'mypy',
            'pytest',
            'ruff',
            'setuptools<80',
            'transformers>=4.56',
        ],
    },
    entry_points={
        'console_scripts': [
            f'depth_pro_node = {NAME}.ros.main:main',
            f'depth_pro = {NAME}.cli:main',
        ],
    },
    zip_safe=False,
)
