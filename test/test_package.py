"""The package as it is installed: metadata, colcon's install space, launch file, RViz."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import depth_pro_ros
from depth_pro_ros.ros.parameters import specs

ROOT = Path(__file__).resolve().parent.parent
INSTALL = ROOT / 'install' / 'depth_pro_ros'


def test_one_version_everywhere():
    package = re.search('<version>(.+)</version>', (ROOT / 'package.xml').read_text())
    assert package and package[1] == depth_pro_ros.__version__
    assert f'\n{depth_pro_ros.__version__} (' in (ROOT / 'CHANGELOG.rst').read_text()


def test_every_photograph_has_a_source_and_a_licence():
    photos = ROOT / 'depth_pro_ros' / 'demo' / 'photos'
    readme, notice = (photos / 'README.md').read_text(), (ROOT / 'NOTICE').read_text()
    for photo in photos.glob('*.jpg'):
        assert photo.name in readme and photo.name in notice, photo


@pytest.fixture
def setup():
    """Give the script that makes .venv, as a module."""
    spec = importlib.util.spec_from_file_location('setup_venv', ROOT / 'tools' / 'setup_venv.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_system_has_wins_over_what_is_pinned(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, 'VENV', tmp_path)
    pinned = setup.constraints({})
    assert pinned == ROOT / 'constraints.txt'
    lines = pinned.read_text().splitlines()
    kept = {'numpy': '1.26.4', 'torch': '2.8.0a0+nv25.08', 'torchvision': '0.23.0a0'}
    found = setup.constraints(kept).read_text().splitlines()
    assert {name: [x for x in found if x.partition('==')[0] == name] for name in kept} == {
        name: [f'{name}=={version}'] for name, version in kept.items()
    }
    assert {x.partition('==')[0] for x in found} == {x.partition('==')[0] for x in lines}
    old = setup.constraints({'numpy': '1.21.5'}).read_text()  # of Ubuntu 22.04
    assert 'scipy==' not in old and 'torch==' in old


def test_an_environment_of_another_folder_is_made_anew(setup, tmp_path, monkeypatch):
    here, there, moved, copied = (tmp_path / name / '.venv' for name in ('a', 'b', 'c', 'd'))
    for folder in (here, there):
        venv.create(folder, symlinks=True)
        pip = folder / 'bin' / 'pip'
        say = "import sys; print(f'pip 24.0 from {sys.prefix}/lib/site-packages/pip')"
        pip.write_text(f'#!{folder}/bin/python\n{say}\n')
        pip.chmod(0o755)
    shutil.move(there, moved)
    shutil.copytree(here, copied, symlinks=True)
    fits = {}
    for folder in (here, moved, copied):
        monkeypatch.setattr(setup, 'VENV', folder)
        monkeypatch.setattr(setup, 'STAMP', folder / 'setup-stamp')
        fits[folder] = setup.fits('wheels jazzy')
    assert fits == {here: True, moved: False, copied: False}
    stamp = setup.fingerprint('wheels jazzy')
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    for name in ('constraints.txt', 'setup.py'):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(setup, 'ROOT', tmp_path)
    assert setup.fingerprint('wheels jazzy') != stamp


@pytest.fixture
def install_space() -> dict[str, str]:
    """Give the environment in which Python finds the package in colcon's install space."""
    folders = list(INSTALL.glob('lib/python3*/site-packages'))
    if not folders:
        pytest.skip('there is no install space: run colcon build, as make test does')
    return {**os.environ, 'PYTHONPATH': str(folders[0])}


def test_colcon_installs_what_ros_looks_for(install_space, tmp_path):
    share = INSTALL / 'share' / 'depth_pro_ros'
    for name in ('package.xml', 'launch/depth_pro.launch.py', 'config/depth_pro.rviz'):
        assert (share / name).is_file(), name
    assert (INSTALL / 'share/ament_index/resource_index/packages/depth_pro_ros').exists()
    command = [sys.executable, '-c', 'import depth_pro_ros as d; print(*d.__path__)']
    found = subprocess.check_output(command, env=install_space, cwd=tmp_path, text=True).strip()
    assert Path(found).is_relative_to(INSTALL)
    assert list(Path(found).glob('demo/photos/*.jpg'))


def test_the_installed_node_starts_and_stops(install_space, tiny_weights, tmp_path):
    pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')
    executable = INSTALL / 'lib' / 'depth_pro_ros' / 'depth_pro_node'
    node = subprocess.Popen(
        [executable, '--ros-args', '-p', f'weights:={tiny_weights}'],
        env=install_space,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = ''
    for line in node.stdout:
        output += line
        if 'ready' in line:
            node.send_signal(signal.SIGINT)
    assert node.wait(10) == 0, output
    assert 'ready' in output, output


def test_launch_arguments_are_the_parameters():
    pytest.importorskip('launch_ros', reason='no launch_ros: it comes with a ROS installation')
    from launch.actions import DeclareLaunchArgument

    path = ROOT / 'launch' / 'depth_pro.launch.py'
    spec = importlib.util.spec_from_file_location('depth_pro_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {
        entity.name: ''.join(part.text for part in entity.default_value)
        for entity in module.generate_launch_description().entities
        if isinstance(entity, DeclareLaunchArgument)
    }
    for name, (default, _) in specs().items():
        assert arguments[name] == str(default)


def test_rviz_shows_what_the_node_publishes():
    yaml = pytest.importorskip('yaml', reason='no PyYAML')
    config = yaml.safe_load((ROOT / 'config' / 'depth_pro.rviz').read_text())
    topics = [display['Topic'] for display in config['Visualization Manager']['Displays']]
    assert {topic['Value']: topic['Reliability Policy'] for topic in topics} == {
        '/image': 'Best Effort',  # receives from both kinds of camera drivers
        '/depth_pro/depth/image_color': 'Reliable',  # and large messages arrive
        '/depth_pro/depth/image': 'Reliable',
        '/depth_pro/points': 'Reliable',
    }
