"""`depth_pro bag --engine ray` on a cluster of two workers, one of which is killed at work."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from bag_helpers import camera_bag, read_bag

from depth_pro_ros.bags.jobs import convert_bags
from depth_pro_ros.bags.options import BagError, BagOptions, ModelChoice

pytestmark = pytest.mark.ray
DEPTH = '/depth_pro/depth/image'


@pytest.fixture(scope='module')
def cluster():
    """Start a cluster of this machine, with room for two workers."""
    ray = pytest.importorskip('ray', reason="no Ray: pip install 'depth_pro_ros[ray]'")
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, logging_level='error')
    yield
    ray.shutdown()


def test_three_bags_are_complete_though_a_worker_is_killed(
    cluster, tiny_weights, tmp_path, monkeypatch
):
    from depth_pro_ros.bags import ray_engine

    pids, output = tmp_path / 'pids', tmp_path / 'out'
    pids.mkdir()

    class KnownWorker(ray_engine.BagWorker):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            (pids / str(os.getpid())).touch()

    monkeypatch.setattr(ray_engine, 'BagWorker', KnownWorker)
    for name in 'abc':
        camera_bag(tmp_path / 'bags' / name, frames=20)
    (tmp_path / 'bags' / 'd').mkdir()
    (tmp_path / 'bags' / 'd' / 'metadata.yaml').write_text('damaged')
    killed = []

    def kill_one_at_work():
        while len(list(output.glob('.*.part/*/*.mcap'))) < 2:
            time.sleep(0.01)
        assert len(list(pids.iterdir())) == 2
        killed.append(next(pids.iterdir()).name)
        os.kill(int(killed[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one_at_work, daemon=True)
    killer.start()
    model = ModelChoice(tiny_weights, 'cpu', 'fp32')
    failures = convert_bags(tmp_path / 'bags', output, BagOptions(), model, 2, 'ray')
    killer.join(1)
    assert killed and len(list(pids.iterdir())) == 3  # another one took its place
    (failure,) = failures
    assert failure.startswith(f'{tmp_path}/bags/d cannot be opened as a bag')
    assert {path.name for path in output.iterdir()} == {'a', 'b', 'c'}
    for name in 'abc':
        found, before = read_bag(output / name), read_bag(tmp_path / 'bags' / name)
        assert {topic: found[topic] for topic in before} == before
        assert [t for t, _ in found[DEPTH]] == [t for t, _ in before['/camera/image_raw']]


def test_a_bag_is_begun_three_times_and_done_when_it_is_whole(
    cluster, tiny_weights, tmp_path, monkeypatch
):
    from depth_pro_ros.bags import ray_engine

    begun = tmp_path / 'begun'

    class MortalWorker(ray_engine.BagWorker):
        def convert(self, job):
            with begun.open('a') as file:
                print(job.source.name, file=file)
            if job.source.name == 'a':
                super().convert(job)
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(ray_engine, 'BagWorker', MortalWorker)
    for name in 'ab':
        camera_bag(tmp_path / 'bags' / name)
    model = ModelChoice(tiny_weights, 'cpu', 'fp32')
    output = tmp_path / 'out'
    (failure,) = convert_bags(tmp_path / 'bags', output, BagOptions(), model, 2, 'ray')
    assert failure.startswith(f'{tmp_path}/bags/b: a worker was lost: ')
    assert sorted(begun.read_text().split()) == ['a', *'bbb']
    assert [path.name for path in output.iterdir()] == ['a'] and read_bag(output / 'a')[DEPTH]
    with pytest.raises(BagError, match='exists already'):  # not taken for made by a lost worker
        convert_bags(tmp_path / 'bags' / 'b', output / 'a', BagOptions(), model, 1, 'ray')


def test_missing_weights_end_in_one_error(cluster, tmp_path):
    for name in 'ab':
        camera_bag(tmp_path / 'bags' / name)
    model = ModelChoice('nowhere.pt', 'cpu', 'fp32')
    with pytest.raises(RuntimeError, match="^no weights 'nowhere.pt'"):
        convert_bags(tmp_path / 'bags', tmp_path / 'out', BagOptions(), model, 2, 'ray')
