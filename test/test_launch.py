"""The launch files, as `ros2 launch` reads them: which topics and parameters each process gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip('launch_ros', reason='no launch_ros: it comes with a ROS installation')

from launch import LaunchContext
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def share(monkeypatch):
    """Let the package's share be the repository: it need not be installed."""
    monkeypatch.setattr(FindPackageShare, 'perform', lambda *_: str(ROOT))


def launched(name: str, **arguments: str) -> dict[str, tuple[Node, list[str]]]:
    """Give the nodes that a launch file starts, each by its name and with its command line."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    context.extend_locals({'ros_specific_arguments': {'name': '', 'ns': ''}})
    return started(
        context, PythonLaunchDescriptionSource(str(ROOT / 'launch' / f'{name}.launch.py'))
    )


def started(
    context: LaunchContext, source: PythonLaunchDescriptionSource
) -> dict[str, tuple[Node, list[str]]]:
    """Give the nodes that a description starts, as `launched` does."""
    nodes: dict[str, tuple[Node, list[str]]] = {}
    waiting = [IncludeLaunchDescription(source)]
    while waiting:
        entity = waiting.pop(0)
        if isinstance(entity, Node):
            if entity.condition is None or entity.condition.evaluate(context):
                entity._perform_substitutions(context)
                command = [perform_substitutions(context, part) for part in entity.cmd[1:]]
                nodes[entity.node_name.rsplit('/', 1)[-1]] = (entity, command)
        else:
            waiting = [*(entity.visit(context) or []), *waiting]
    return nodes


@pytest.mark.parametrize(
    ('name', 'consumer', 'topics'),
    [
        ('octomap', 'octomap_server', {'cloud_in': 'points'}),
        (
            'rtabmap',
            'rtabmap',
            {
                'rgb/image': 'image_rect',
                'rgb/camera_info': 'depth/camera_info',
                'depth/image': 'depth/image',
            },
        ),
        (
            'nvblox',
            'nvblox_node',
            {
                'camera_0/color/image': 'image_rect',
                'camera_0/color/camera_info': 'depth/camera_info',
                'camera_0/depth/image': 'depth/image',
                'camera_0/depth/camera_info': 'depth/camera_info',
            },
        ),
        (
            'laserscan',
            'depthimage_to_laserscan',
            {'depth': 'depth/image', 'depth_camera_info': 'depth/camera_info'},
        ),
    ],
)
def test_a_consumer_is_in_the_namespace_of_the_node_and_takes_its_topics(name, consumer, topics):
    nodes = launched(name, namespace='robot', image='picture')
    for each, (node, _) in nodes.items():
        assert node.node_name == f'/robot/{each}'
    for topic, source in topics.items():  # relative, that is in the namespace
        assert f'{topic}:=depth_pro/{source}' in nodes[consumer][1]
    assert 'image:=picture' in nodes['depth_pro'][1]


@pytest.mark.parametrize('name', ['nav2', 'octomap', 'rtabmap', 'nvblox', 'laserscan'])
def test_a_users_file_is_put_over_the_preset_and_arguments_over_both(name, tmp_path):
    file = tmp_path / 'own.yaml'
    file.write_text('/**:\n  ros__parameters: {max_depth: 3.0}\n')
    command = launched(name, params_file=str(file), max_age_s='2.0')['depth_pro'][1]
    files = [command[at + 1] for at, part in enumerate(command) if part == '--params-file']
    assert files[:2] == [str(ROOT / 'config' / f'{name}.yaml'), str(file)] and len(files) == 3
    assert 'max_age_s: 2.0' in Path(files[2]).read_text()


def test_files_and_clock_are_the_consumers_too(tmp_path):
    file = tmp_path / 'own.yaml'
    file.write_text('/**/octomap_server:\n  ros__parameters: {resolution: 0.2}\n')
    for node, command in launched(
        'octomap', params_file=str(file), use_sim_time='true', rviz='true'
    ).values():
        files = [command[at + 1] for at, part in enumerate(command) if part == '--params-file']
        assert 'use_sim_time: true' in Path(files[-1]).read_text()
        assert str(file) in files or node.node_package == 'rviz2'
    for _, command in launched('octomap', use_sim_time='False').values():
        files = [command[at + 1] for at, part in enumerate(command) if part == '--params-file']
        assert files[0] == str(ROOT / 'config' / 'octomap.yaml')
        assert 'use_sim_time: false' in Path(files[-1]).read_text()
    assert '--params-file' not in launched('depth_pro')['depth_pro'][1]


def test_a_second_inclusion_takes_no_defaults_of_the_first_as_given(tmp_path):
    context = LaunchContext()
    context.extend_locals({'ros_specific_arguments': {'name': '', 'ns': ''}})
    source = PythonLaunchDescriptionSource(str(ROOT / 'launch' / 'depth_pro.launch.py'))
    for _ in range(2):
        commands = [command for _, command in started(context, source).values()]
        assert not [part for command in commands for part in command if part == '--params-file']


@pytest.mark.parametrize('path', sorted((ROOT / 'launch').glob('*.py')), ids=lambda p: p.name)
def test_nothing_is_left_behind_for_what_is_included_next(path):
    context = LaunchContext()
    context.extend_locals({'ros_specific_arguments': {'name': '', 'ns': ''}})
    assert started(context, PythonLaunchDescriptionSource(str(path)))
    assert not context.launch_configurations


def test_several_cameras_take_every_argument():
    nodes = launched('multi_camera', cameras='[a, b]', weights='other', namespace='robot')
    node, command = nodes['depth_pro']
    assert node.node_name == '/robot/depth_pro'
    for camera in 'ab':
        assert f'{camera}/image:={camera}/image_raw' in command
        assert f'{camera}/image/compressed:={camera}/image_raw/compressed' in command
        assert f'{camera}/camera_info:={camera}/camera_info' in command
    text = Path(command[command.index('--params-file') + 1]).read_text()
    assert 'weights: other' in text and '- a' in text and '- b' in text


@pytest.mark.parametrize('name', ['octomap', 'rtabmap', 'nvblox', 'laserscan'])
def test_a_consumer_of_one_camera_refuses_named_ones(name):
    with pytest.raises(RuntimeError, match='leave `cameras` out'):
        launched(name, cameras='[front]')


def test_lists_are_taken_as_people_type_them():
    typed = {'scan_pose': '[0, 0.1, 0, 1.57, -1.57, 0]', 'cameras': ''}
    command = launched('depth_pro', **typed)['depth_pro'][1]
    text = Path(command[command.index('--params-file') + 1]).read_text()
    (given,) = yaml.safe_load(text).values()
    assert given['ros__parameters'] == {'scan_pose': [0.0, 0.1, 0.0, 1.57, -1.57, 0.0]}
    assert 'image:=image' in command
    assert 'octomap_server' in launched('octomap', cameras='')


def test_rviz_shows_the_first_camera():
    for cameras, below in (('[front, rear]', 'front/'), ("['']", '')):
        nodes = launched('multi_camera', cameras=cameras, rviz='true').values()
        (command,) = (command for node, command in nodes if node.node_package == 'rviz2')
        assert f'/image:={below}image_raw' in command
        assert f'/depth_pro/points:=depth_pro/{below}points' in command
