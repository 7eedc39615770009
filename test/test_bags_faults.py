"""`depth_pro bag` with bad input and bad luck: one clear message, the exit code, no half bag."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from bag_helpers import (
    COMPRESSED,
    IMAGE,
    OWN,
    PERIOD_NS,
    camera_bag,
    compressed_image,
    header,
    make,
    raw_image,
    read_bag,
    types,
    write_bag,
)
from limits import file_size_limit
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from depth_pro_ros import cli
from depth_pro_ros.bags.convert import convert_bag
from depth_pro_ros.bags.jobs import find_jobs
from depth_pro_ros.bags.options import BagError, BagOptions
from depth_pro_ros.bags.writing import remove_unfinished
from depth_pro_ros.estimator import OutOfMemoryError

DEPTH = '/depth_pro/depth/image'


@pytest.fixture
def run(tiny_weights, capsys, tmp_path):
    """Give a function that runs the command and gives what it wrote to stderr."""

    def command(source, output='out', *more, code=1):
        arguments = ['bag', source, tmp_path / output, '--weights', tiny_weights, *more]
        assert cli.main([str(argument) for argument in arguments]) == code
        return capsys.readouterr().err

    return command


def complaint(stderr: str) -> str:
    """Give the one message of the command, without the progress bar."""
    assert 'Traceback' not in stderr
    assert stderr.count('depth_pro: ') == 1, stderr
    return stderr[stderr.index('depth_pro: ') :]


def left(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def chunks(path, compressed: bool, mark: bytes = b''):
    """Write a bag of several chunks, and overwrite the beginning of what `mark` marks in one."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/c/image', IMAGE, typestore=types)
        for index in range(8):  # of a little more than 1 MiB, after which a chunk ends
            message = raw_image(index % 2, width=640, height=560)
            writer.write(connection, index * PERIOD_NS, types.serialize_cdr(message, IMAGE))
    if mark:
        file = path / f'{path.name}.mcap'
        data = bytearray(file.read_bytes())
        where = data.index(mark, len(data) // 2) - (80 if not compressed else 0)
        data[where : where + 64] = b'\xff' * 64
        file.write_bytes(data)
    return path


def no_images(path):
    bumper = make[OWN](header(0), np.zeros(4, np.bool_))
    depth = raw_image(0, '32FC1')
    packed = compressed_image(0)
    packed.format = '16UC1; compressedDepth png'
    return write_bag(
        path,
        {
            '/bumper': (OWN, [(0, bumper)]),
            '/depth': (IMAGE, [(0, depth)]),
            '/depth/compressedDepth': (COMPRESSED, [(0, packed)]),
        },
    )


def two_cameras(path):
    topics = {f'/{side}/image': (IMAGE, [(0, raw_image(0))]) for side in ('left', 'right')}
    return write_bag(path, topics)


def cut_off(path):
    camera_bag(path)
    file = path / f'{path.name}.mcap'
    file.write_bytes(file.read_bytes()[:-100])
    return path


def not_a_bag(path):
    path.mkdir()
    (path / 'notes.txt').write_text('no bag')
    return path


def text_as_bag(path):
    path = path.with_suffix('.mcap')
    path.write_text('no bag either')
    return path


def broken_metadata(path):
    (camera_bag(path) / 'metadata.yaml').write_text('rosbag2_bagfile_information: {version: 9')
    return path


BAD_BAGS = {
    'absent': (lambda path: path, 'does not exist'),
    'not a bag': (not_a_bag, 'is no bag and has none in it'),
    'text as a bag': (text_as_bag, 'cannot be opened as a bag'),
    'broken metadata': (broken_metadata, 'cannot be opened as a bag: Could not load YAML'),
    'empty': (lambda path: write_bag(path, {'/image': (IMAGE, [])}), 'has no messages'),
    'no topics': (lambda path: write_bag(path, {}), 'has no messages'),
    'no image topic': (no_images, 'has no camera images; its topics are:\n  /bumper '),
    'two image topics': (
        two_cameras,
        'has 2 image topics; choose with --topic:\n  /left/image   sensor_msgs/msg/Image  1 mess',
    ),
    'cut off': (cut_off, 'cannot be opened as a bag: File end magic is invalid'),
    'corrupt chunk': (lambda path: chunks(path, False, b'rgb8\0'), 'is damaged'),
    'corrupt zstd': (lambda path: chunks(path, True, b'\x28\xb5\x2f\xfd'), 'is damaged'),
}


@pytest.mark.parametrize('case', BAD_BAGS)
def test_a_bad_bag_ends_in_one_message(run, tmp_path, case):
    make_bag, message = BAD_BAGS[case]
    source = make_bag(tmp_path / 'in')
    before = left(tmp_path)
    assert message in complaint(run(source))
    assert left(tmp_path) == before


def test_the_same_chunks_undamaged_are_fine(run, tmp_path):
    source = chunks(tmp_path / 'in', compressed=True)
    run(source, 'out', '--every', 4, '--focal-px', 60, code=0)
    assert len(read_bag(tmp_path / 'out')[DEPTH]) == 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--topic', '/none'], 'has no images on /none; there are:\n  /camera/image_raw  '),
        (['--topic', '/camera/camera_info'], 'has no images on /camera/camera_info'),
        (['--camera-info', '/none'], 'has no CameraInfo on /none; there are:\n  /camera/cam'),
        (['--start', '60'], 'has no images on /camera/image_raw in the chosen stretch'),
        (['--start', '-1'], '--start -1.0 is not a time in the bag'),
        (['--duration', '0'], '--duration 0.0 is not positive'),
        (['--duration', 'nan'], '--duration nan is not positive'),
        (['--every', '0'], '--every 0 is not positive'),
        (['--max-depth', '0.05'], 'are no range'),
        (['--namespace', 'depth'], "--namespace 'depth' is not like"),
        (['--rectify', '--focal-px', '500'], 'leave --rectify and --camera-info out'),
        (['--camera-info', '/none', '--focal-px', '500'], 'leave --rectify and --camera-info out'),
        (['--weights', 'nowhere.pt'], "no weights 'nowhere.pt'"),
        (['--device', 'tpu'], "no device 'tpu'"),
    ],
    ids=lambda value: '' if isinstance(value, str) else ' '.join(value),
)
def test_bad_arguments_end_in_one_message(run, tmp_path, arguments, message):
    source = camera_bag(tmp_path / 'in')
    assert message in complaint(run(source, 'out', *arguments))
    assert left(tmp_path) == {'in'}


def test_a_storage_against_the_suffix_of_the_output(run, tmp_path):
    source = camera_bag(tmp_path / 'in')
    assert 'is a name for mcap' in complaint(run(source, 'out.mcap', '--storage', 'sqlite3'))


def test_workers_without_ray_are_not_ignored(run, tmp_path, monkeypatch):
    source = camera_bag(tmp_path / 'in')
    need = "pip install 'depth_pro_ros[ray]'"
    assert f'--workers needs --engine ray ({need})' in complaint(run(source, 'a', '--workers', 2))
    monkeypatch.setitem(sys.modules, 'ray', None)
    monkeypatch.delitem(sys.modules, 'depth_pro_ros.bags.ray_engine', raising=False)
    told = complaint(run(source, 'a', '--workers', 2, '--engine', 'ray'))
    assert told == f'depth_pro: ray is missing: {need}\n'
    assert left(tmp_path) == {'in'}


def test_an_output_that_exists_is_left_as_it_is(run, tmp_path):
    source = camera_bag(tmp_path / 'in')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.txt').write_text('of value')
    assert 'exists already' in complaint(run(source))
    assert (tmp_path / 'out' / 'thesis.txt').read_text() == 'of value'


@pytest.mark.parametrize('given', ['in', 'in/in.mcap'])
def test_the_bag_that_is_read_is_not_called_in_the_way(run, tmp_path, given):
    camera_bag(tmp_path / 'in')
    told = complaint(run(tmp_path / given, 'in'))
    assert 'is, or holds, the bag that is read' in told and 'remove' not in told


def test_a_bag_that_has_such_topics_already(run, tmp_path):
    run(camera_bag(tmp_path / 'in'), code=0)
    assert 'has /depth_pro/depth/camera_info, /depth_pro' in complaint(run(tmp_path / 'out', 'b'))
    run(tmp_path / 'out', 'b', '--namespace', '/again', code=0)
    assert len(read_bag(tmp_path / 'b')['/again/depth/image']) == 6


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk(run, tmp_path, storage):
    folder = tmp_path / 'bags'
    folder.mkdir()
    camera_bag(folder / 'a', frames=2)
    camera_bag(folder / 'b', frames=12)
    with file_size_limit(200_000):
        stderr = run(folder, 'out', '--storage', storage)
    assert f'cannot write {tmp_path}/out/b: ' in complaint(stderr)
    assert left(tmp_path / 'out') == {'a'}  # what was finished before is whole
    assert len(read_bag(tmp_path / 'out' / 'a')[DEPTH]) == 2


@pytest.mark.parametrize('more', [[], ['--points', '--cloud-stride', '1', '--compressed']])
def test_a_disk_that_is_too_small_is_told_before_anything_is_computed(
    run, tmp_path, monkeypatch, more
):
    source = camera_bag(tmp_path / 'in', frames=12)
    copied = sum(len(data) for messages in read_bag(source).values() for _, data in messages)
    needed = copied + 12 * 64 * 48 * (4 if not more else 16)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=needed - 1))
    assert f'it takes {needed / 1e6:.0f} MB' in complaint(run(source, 'out', *more))
    assert left(tmp_path) == {'in'}
    usage = usage._replace(free=needed)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    run(source, 'out', '--every', 3, *more, code=0)


def test_an_unwritable_folder(run, tmp_path):
    source = camera_bag(tmp_path / 'in')
    (tmp_path / 'file').write_text('')
    assert 'Not a directory' in complaint(run(source, 'file/out'))
    message = complaint(run(source, '/proc/depth/out'))  # /proc refuses root, too
    assert 'cannot write /proc/depth/out: ' in message


def test_no_image_can_be_decoded(run, tmp_path):
    images = [(index, compressed_image(index, data=b'\xff\xd8 no')) for index in range(3)]
    source = write_bag(tmp_path / 'in', {'/c/image/compressed': (COMPRESSED, images)})
    assert 'neither JPEG nor PNG' in complaint(run(source, 'out', '--focal-px', 60))
    assert 'none of the images on /c/image/compressed' in complaint(run(source))
    assert left(tmp_path) == {'in'}


def test_a_folder_of_bags_goes_on_after_a_bad_one_and_skips_what_is_done(run, tmp_path, capsys):
    folder = tmp_path / 'bags'
    folder.mkdir()
    camera_bag(folder / 'a', frames=2)
    cut_off(folder / 'b')
    shutil.move(camera_bag(tmp_path / 'c', frames=3) / 'c.mcap', folder / 'c.mcap')
    assert 'b cannot be opened' in complaint(run(folder))
    assert left(tmp_path / 'out') == {'a', 'c'}
    written = (tmp_path / 'out' / 'a' / 'a.mcap').stat().st_mtime_ns
    shutil.rmtree(folder / 'b')
    camera_bag(folder / 'b', frames=1)
    run(folder, code=0)
    assert {name: len(read_bag(tmp_path / 'out' / name)[DEPTH]) for name in 'abc'} == {
        'a': 2,
        'b': 1,
        'c': 3,
    }
    assert (tmp_path / 'out' / 'a' / 'a.mcap').stat().st_mtime_ns == written


def test_two_bags_of_one_name_are_refused(tmp_path):
    (tmp_path / 'in' / 'a').mkdir(parents=True)
    for name in ('a/metadata.yaml', 'a.mcap', 'b.mcap'):
        (tmp_path / 'in' / name).touch()
    with pytest.raises(BagError, match='has several bags named a: rename one'):
        find_jobs(tmp_path / 'in', tmp_path / 'out')


class Full:
    """A network whose device has no memory left."""

    def predict(self, rgb, focal_px=None):
        raise OutOfMemoryError('the device has too little free memory')


@pytest.mark.parametrize('info', [False, True], ids=['for the focal length', 'for depth'])
def test_a_device_that_is_too_small_ends_in_one_message(tmp_path, info):
    source = camera_bag(tmp_path / 'in', info=info)
    with pytest.raises(BagError, match='in: the device has too little free memory'):
        convert_bag(source, tmp_path / 'out', BagOptions(), Full, progress=False)
    assert left(tmp_path) == {'in'}


def test_an_output_inside_of_the_input_is_refused(run, tmp_path):
    camera_bag(tmp_path / 'bags' / 'a')
    assert 'choose a folder beside it' in complaint(run(tmp_path / 'bags', 'bags/out'))


@pytest.mark.parametrize(
    ('stop', 'storage'), [(signal.SIGKILL, 'mcap'), (signal.SIGINT, 'sqlite3')]
)
def test_stopped_in_the_middle_and_run_again(run, tiny_weights, tmp_path, stop, storage):
    source = camera_bag(tmp_path / 'in', frames=60)
    command = [sys.executable, '-m', 'depth_pro_ros.cli', 'bag', source, tmp_path / 'out']
    command += ['--weights', tiny_weights, '--storage', storage, '--device', 'cpu']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.set_blocking(process.stderr.fileno(), False)
    stderr = b''
    end = time.monotonic() + 120
    while (
        not re.search(rb'\| [1-9]\d*/60 ', stderr)
        and time.monotonic() < end
        and process.poll() is None
    ):
        stderr += process.stderr.read() or b''
        time.sleep(0.002)
    assert (tmp_path / '.out.part').exists(), stderr.decode()
    process.send_signal(stop)
    os.set_blocking(process.stderr.fileno(), True)
    stderr += process.communicate(timeout=60)[1]
    assert not (tmp_path / 'out').exists()
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert 'interrupted' in complaint(stderr.decode())
        assert left(tmp_path) == {'in'}
    run(source, 'out', '--storage', storage, '--device', 'cpu', code=0)
    found, before = read_bag(tmp_path / 'out'), read_bag(source)
    assert {topic: found[topic] for topic in before} == before
    assert [time for time, _ in found[DEPTH]] == [t for t, _ in before['/camera/image_raw']]
    assert left(tmp_path) == {'in', 'out'}


def test_two_processes_do_not_write_the_same_bag(run, tmp_path):
    import fcntl

    source = camera_bag(tmp_path / 'in')
    (tmp_path / '.out.part').mkdir()
    other = os.open(tmp_path / '.out.part', os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert 'is being written by another process' in complaint(run(source))
    remove_unfinished(tmp_path / 'out')
    assert (tmp_path / '.out.part').exists()
    os.close(other)
    remove_unfinished(tmp_path / 'out')
    assert left(tmp_path) == {'in'}
    (tmp_path / '.out.part' / 'out').mkdir(parents=True)
    (tmp_path / '.out.part' / 'out.mcap').touch()
    run(source, code=0)
    assert left(tmp_path) == {'in', 'out'}
