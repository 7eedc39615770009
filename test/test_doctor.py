"""`depth_pro doctor`: each check finds its fault and says what to do; the exit code is right."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from networks import TINY
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from depth_pro_ros import cli
from depth_pro_ros.doctor import middleware, model, system
from depth_pro_ros.doctor.check import Check, screen, would_run
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.folded import FoldedDepthPro
from depth_pro_ros.network.pieces import PIECE_BYTES, Pieces
from depth_pro_ros.network.weights import Download

ROOT = Path(__file__).resolve().parent.parent


def test_the_screen_shows_each_check_with_its_remedy_and_the_verdict():
    checks = [
        Check('Python', 'ok', '3.12'),
        Check('Weights', 'fail', 'missing ' * 20, 'download them'),
        Check('ROS graph', 'warn', 'no images', 'remap'),
    ]
    lines = screen(checks, 60).splitlines()
    assert lines[0] == 'ok    Python     3.12'
    assert all(len(line) <= 60 for line in lines)
    assert '              -> download them' in lines
    assert lines[-1] == 'The node would not run: 1 failed, 1 to improve'
    assert not would_run(checks) and would_run([checks[0], checks[2]])


@pytest.mark.parametrize(
    ('arguments', 'code', 'expected'),
    [
        ([], 0, 'The node would run'),
        (['--weights', 'nowhere.pt'], 1, "fail  Weights         no weights 'nowhere.pt'"),
        (['--device', 'cuda:99'], 1, 'fail  PyTorch         '),
        (['--image-size', 'large'], 1, "--image-size 'large' is not like 1280x720"),
    ],
    ids=lambda value: '_'.join(value) if isinstance(value, list) else '',
)
def test_the_exit_code_says_whether_the_node_would_run(
    tiny_weights, monkeypatch, capsys, arguments, code, expected
):
    monkeypatch.setattr('depth_pro_ros.ros.graph.check_graph', lambda: [])
    assert cli.main(['doctor', '--weights', tiny_weights, *arguments]) == code
    output = capsys.readouterr()
    assert expected in output.out + output.err


@pytest.fixture
def download(monkeypatch, tmp_path) -> Path:
    """Make `tiny` a name of weights that are downloaded; gives their place in the cache."""
    data = b'weights' * 100
    known = Download('http://localhost/tiny.pt', 700, hashlib.sha256(data).hexdigest(), 'free')
    monkeypatch.setattr(model, 'DOWNLOADS', {'tiny': known})
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path = tmp_path / 'depth_pro_ros' / 'tiny.pt'
    path.parent.mkdir()
    return path


def test_weights_that_are_not_downloaded_yet(download, monkeypatch):
    check = model.check_weights('tiny')
    assert check.status == 'warn' and 'is not here yet' in check.found
    assert 'http://localhost/tiny.pt' in check.remedy and str(download) in check.remedy
    monkeypatch.setattr(model, 'free_bytes', lambda folder: 699)
    assert model.check_weights('tiny').status == 'fail'
    download.with_suffix('.part').write_bytes(b'x' * 10)  # a part that is here needs no room
    assert model.check_weights('tiny').status == 'warn'


def test_downloaded_weights_are_whole_or_damaged(download):
    download.write_bytes(b'weights' * 100)
    assert model.check_weights('tiny').status == 'ok'
    for damaged in (b'weights' * 99, b'weights' * 99 + b'Weights'):
        download.write_bytes(damaged)
        check = model.check_weights('tiny')
        assert check.status == 'fail' and check.remedy.startswith(f'rm {download}')


def test_a_damaged_file_of_weights(tmp_path):
    path = tmp_path / 'mine.safetensors'
    path.write_bytes(b'no weights')
    check = model.check_weights(str(path))
    assert check.status == 'fail' and 'cannot read' in check.found


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.bytes += storage.nbytes()
                    self.most = max(self.most, self.bytes)
                    weakref.finalize(storage, self.drop, storage._cdata, storage.nbytes())
        return result

    def drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.bytes -= size


@pytest.mark.parametrize('in_pieces', [False, True], ids=['whole', 'in pieces'])
@pytest.mark.parametrize('name', ['small', 'large'])
def test_the_memory_needed_covers_what_a_frame_keeps_alive(name, in_pieces):
    config = DepthProConfig.preset(name)
    within = Pieces.within(config, torch.float16, PIECE_BYTES)
    pieces = within if in_pieces else Pieces()
    with torch.device('meta'):
        network = DepthPro(config)
        image = torch.empty(1, 3, config.image_size, config.image_size, dtype=torch.float16)
    folded = FoldedDepthPro(network).half().eval()
    weights = sum(parameter.nbytes for parameter in folded.parameters())
    with torch.inference_mode(), LiveTensors() as live:
        folded(image, True, pieces.tile_batch, pieces.strip_rows)
    needed = model.needed_bytes(config, torch.float16, pieces) - model.MARGIN_BYTES
    print(f'{name} {pieces}: {(weights + live.most) / 1e9:.2f} GB alive, {needed / 1e9:.2f} told')
    assert 1.0 <= needed / (weights + live.most) <= 1.4


def test_too_little_memory(tiny_weights, monkeypatch):
    def check(free, total):
        monkeypatch.setattr(model, 'system_memory', lambda: (free, total))
        return model.check_memory(tiny_weights, 'cpu', 'fp32', 'auto')

    assert check(2**31, 2**32).status == 'ok'
    assert check(2**28, 2**32).status == 'warn'
    assert check(2**28, 2**28).status == 'fail'
    large, bf16 = DepthProConfig.large(), torch.bfloat16
    official = model.needed_bytes(large, bf16, Pieces.within(large, bf16, PIECE_BYTES))
    assert 4.0e9 < official < 4.4e9  # measured: 4.0 GB
    assert model.needed_bytes(TINY, torch.float16, Pieces()) < 1.1 * model.MARGIN_BYTES


@pytest.mark.parametrize(
    ('environment', 'size', 'status', 'found'),
    [
        ({}, (1280, 720), 'warn', 'no profile'),
        ({}, (320, 240), 'ok', 'no profile'),
        ({'FASTRTPS_DEFAULT_PROFILES_FILE': '{profile}'}, (1920, 1080), 'ok', '128.0 MiB'),
        ({'FASTDDS_DEFAULT_PROFILES_FILE': '{profile}'}, (1920, 1080), 'warn', 'no profile'),
        (
            {'FASTDDS_DEFAULT_PROFILES_FILE': '{profile}', 'ROS_DISTRO': 'kilted'},
            (1920, 1080),
            'ok',
            '128.0 MiB',
        ),
        (
            {'FASTRTPS_DEFAULT_PROFILES_FILE': '{profile}', 'ROS_DISTRO': 'kilted'},
            (1920, 1080),
            'warn',
            'no profile',
        ),
        ({'FASTRTPS_DEFAULT_PROFILES_FILE': '/no.xml'}, (320, 240), 'warn', 'cannot be read'),
        # measured: best-effort subscribers lose as much with it as without
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}, (1920, 1080), 'warn', 'no profile'),
    ],
)
def test_shared_memory_against_our_messages(
    monkeypatch, tmp_path, environment, size, status, found
):
    monkeypatch.chdir(tmp_path)
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    profile = ROOT / 'config' / 'fastdds_large_messages.xml'
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(profile=profile))
    check = middleware.check_shared_memory('rmw_fastrtps_cpp', *size)
    assert check.status == status and found in check.found, check
    if status == 'warn':
        assert Path(check.remedy.rpartition('=')[2]).exists()
    assert middleware.check_shared_memory('rmw_zenoh_cpp', 1920, 1080).status == 'ok'


def test_shared_memory_that_a_container_is_too_small_for(monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv(
        'FASTRTPS_DEFAULT_PROFILES_FILE', str(ROOT / 'config' / 'fastdds_large_messages.xml')
    )
    room = os.statvfs_result((4096, 4096, 16384, 16384, 16384, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, 'statvfs', lambda path: room)
    check = middleware.check_shared_memory('rmw_fastrtps_cpp', 1280, 720)
    assert check.status == 'warn' and '--shm-size' in check.remedy


def test_a_cv_bridge_for_another_numpy(monkeypatch, tmp_path):
    (tmp_path / 'cv_bridge.py').write_text("raise ImportError('numpy.core.multiarray failed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    check = system.check_libraries()
    assert check.status == 'warn' and 'numpy.core.multiarray failed' in check.found
    (tmp_path / 'cv_bridge.py').write_text('class CvBridge: cv2_to_imgmsg = None')
    assert system.check_libraries().status == 'ok'


def test_a_missing_library_and_a_missing_torch(monkeypatch):
    monkeypatch.setitem(system.LIBRARIES, 'nosuchmodule', 'nosuchpackage')
    check = system.check_libraries()
    assert check.status == 'fail' and check.remedy.endswith('pip install nosuchpackage')
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert system.check_torch('auto').status == 'fail'


def test_a_driver_without_a_gpu_that_torch_sees(monkeypatch, tmp_path):
    driver = tmp_path / 'version'
    driver.write_text('NVRM version: NVIDIA UNIX x86_64 Kernel Module  555.42.06  Tue\n')
    monkeypatch.setattr(system, 'DRIVER', driver)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    check = system.check_torch('auto')
    assert check.status == 'warn' and '555.42.06' in check.found and check.remedy


def test_a_gpu_that_this_torch_cannot_compute_on(monkeypatch):
    def kernel(*size, device):
        raise RuntimeError('CUDA error: no kernel image is available for execution\nmore')

    monkeypatch.setattr(torch, 'ones', kernel)
    check = system.check_torch('auto')
    assert check.status == 'fail' and check.found.endswith(
        'no kernel image is available for execution'
    )


def test_a_cpu_without_bf16_is_slow_but_runs(monkeypatch):
    monkeypatch.setattr('depth_pro_ros.devices.cpu_prefers_bf16', lambda: False)
    assert system.check_processor('cpu').status == 'warn'


def test_a_middleware_that_is_not_installed():
    code = 'from depth_pro_ros.doctor.middleware import check_ros; print(check_ros())'
    environment = {**os.environ, 'RMW_IMPLEMENTATION': 'rmw_nothing_cpp'}
    output = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True
    ).stdout
    assert "status='fail'" in output and 'unset RMW_IMPLEMENTATION' in output


@contextlib.contextmanager
def peers(*endpoints):
    """Run a node with endpoints: (make, type, topic, QoS)."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('nav', context=context)
    for make, kind, topic, qos in endpoints:
        if make == 'publisher':
            node.create_publisher(kind, topic, qos)
        else:
            node.create_subscription(kind, topic, print, qos)
    try:
        yield
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_peers_that_cannot_talk_with_the_node_are_named(monkeypatch):
    pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from ros_helpers import wait_until
    from sensor_msgs.msg import CompressedImage, Image, PointCloud2

    from depth_pro_ros.ros import graph

    monkeypatch.setattr(graph, 'SETTLE_S', 0.3)
    monkeypatch.setattr(graph, 'DISCOVERY_S', 0.2)
    (quiet,) = graph.check_graph()
    assert quiet.status == 'ok' and 'no nodes are up' in quiet.found
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with peers(
        ('publisher', CompressedImage, '/image', 5),
        ('publisher', Image, '/camera/image_raw', 5),
        ('subscription', PointCloud2, '/depth_pro/points', latched),
        ('subscription', Image, '/depth_pro/depth/image', 5),
    ):
        kind, qos = wait_until(lambda: len(checks := graph.check_graph()) == 2 and checks)
    assert {kind.status, qos.status} == {'warn'}
    assert '/image is published by nav as sensor_msgs/msg/CompressedImage' in kind.found
    assert '/depth_pro/points is subscribed to by nav with another QoS' in qos.found
    assert '(Volatile publisher and transient local subscription)' in qos.found


def test_the_graph_knows_the_topics_of_the_node(tiny_weights, monkeypatch):
    pytest.importorskip('rclpy', reason='no ROS 2: neither sourced nor as wheels')
    from ros_helpers import running_node, wait_until
    from sensor_msgs.msg import Image
    from std_srvs.srv import SetBool

    from depth_pro_ros.ros import graph

    monkeypatch.setattr(graph, 'SETTLE_S', 0.3)
    with running_node(tiny_weights) as (node, peer):
        found = {}
        for topic in (each.topic_name for each in node.publishers):
            for end in node.get_publishers_info_by_topic(topic):
                if end.topic_type.startswith('sensor_msgs'):
                    found[topic] = end.topic_type
                    assert end.qos_profile.reliability == graph.OUTPUT_QOS.reliability
                    assert end.qos_profile.durability == graph.OUTPUT_QOS.durability
        assert found == graph.OUTPUTS
        (check,) = wait_until(
            lambda: '/depth_pro, ' in (checks := graph.check_graph())[0].found and checks
        )
        assert check.status == 'ok' and check.found.startswith('up: /depth_pro, /peer; no peer')
        peer.call(SetBool, 'enable', data=False)
        checks = wait_until(lambda: len(checks := graph.check_graph()) == 2 and checks)
        assert (checks[1].status, checks[1].found) == (
            'warn',
            'our node is up, but takes no images',
        )
    with peers(('publisher', Image, '/front/image', 5)):
        checks = wait_until(lambda: len(checks := graph.check_graph()) == 2 and checks)
    assert checks[-1].remedy == 'images are on /front/image: remap with image:=TOPIC'


def test_without_pytorch_all_else_is_checked(tmp_path):
    (tmp_path / 'torch.py').write_text("raise ImportError('libcudart is missing', name='torch')")
    environment = os.environ | {'PYTHONPATH': str(tmp_path)}
    command = [sys.executable, '-m', 'depth_pro_ros.cli', 'doctor']
    told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert told.returncode == 1
    assert 'cannot be imported: libcudart is missing' in told.stdout
    assert 'pip install torch' in told.stdout and 'ROS 2' in told.stdout
