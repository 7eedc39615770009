"""`depth_pro rooms`, `train` and `distil`, from nothing to weights."""

import dataclasses
import json
import sys

import bag_helpers
import cv2
import numpy as np
import pytest
import torch
from networks import MINIATURE, lively_network

from depth_pro_ros import cli
from depth_pro_ros.bags.options import BagError
from depth_pro_ros.commands import training as commands
from depth_pro_ros.compressed_depth import encode_depth
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import load_network, read_record, save_network
from depth_pro_ros.training import distil, furniture, survey
from depth_pro_ros.training import train as training
from depth_pro_ros.training.distil import label
from depth_pro_ros.training.frames import collate
from depth_pro_ros.training.measure import by_network, measure
from depth_pro_ros.training.recorded import pairs
from depth_pro_ros.training.rooms import Frame, write_frames
from depth_pro_ros.training.sources import open_frames, open_pictures
from depth_pro_ros.training.stages import STAGES, Stage, choose
from depth_pro_ros.training.start import start_network, take_over
from depth_pro_ros.training.train import compute_loss


@pytest.fixture
def miniature(monkeypatch):
    """Make `small` a network that trains in seconds."""
    monkeypatch.setattr(DepthProConfig, 'small', classmethod(lambda cls: MINIATURE))
    torch.manual_seed(0)
    torch.set_num_threads(1)


def depth_losses(output, stage: str) -> list[float]:
    """Read what the metrics beside a weights file says of depth, every ten steps of a stage."""
    lines = output.with_suffix('.metrics.jsonl').read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [e['mae'] + e['log'] for e in entries if e.get('stage') == stage and 'step' in e]


def test_from_rooms_to_weights_that_beat_a_constant(tmp_path, miniature):
    pytest.importorskip('moderngl')
    try:
        furniture.catalogue()
    except furniture.FurnitureMissingError as error:
        pytest.skip(str(error))
    rooms, held_out, output = tmp_path / 'rooms', tmp_path / 'held_out', tmp_path / 'a.safetensors'
    small = ['--size', '96', '--output']
    sheet = ['--preview', str(tmp_path / 'sheet.png')]
    assert cli.main(['rooms', '--count', '150', *small, str(rooms), *sheet]) == 0
    assert (
        cli.main(['rooms', '--count', '40', '--held-out', '--seed', '9', *small, str(held_out)])
        == 0
    )
    assert cv2.imread(str(tmp_path / 'sheet.png')).shape == (6 * 192, 8 * 192, 3)
    where = ['--data', str(rooms), '--held-out', str(held_out), '--output', str(output)]
    common = ['train', *where, '--init', 'none', '--batch', '12', '--steps', '250']
    assert cli.main([*common, '--rate', '2e-3', '--stage', '1']) == 0
    seen = collate(list(open_frames(rooms).some(60)), MINIATURE, MINIATURE.answer_size)
    with torch.no_grad():
        before, after = (
            compute_loss(network, seen, STAGES['1'])[0]
            for network in (start_network('none'), load_network(output).float())
        )
    assert after < 0.93 * before
    learned = load_network(output).state_dict()
    init = ['--init', str(output), '--batch', '4', '--steps', '15', '--freeze-vit']
    assert cli.main(['train', *where, *init, '--stage', '1', '2', 'fov']) == 0
    now = load_network(output).state_dict()
    changed = [name for name, tensor in now.items() if not torch.equal(tensor, learned[name])]
    assert any(name.startswith('head.') for name in changed)
    assert not any('patch_encoder' in name for name in changed)
    record = read_record(output)
    assert [stage['name'] for stage in record['stages']] == ['1', '2', 'fov']
    result, blind = record['stages'][-1]['held_out'], record['baselines']['constant depth']
    assert result['abs_rel'] < 0.97 * blind['abs_rel']
    assert result['delta1'] > blind['delta1']
    assert cv2.imread(str(output.with_suffix('.metrics.png'))).std() > 5


@pytest.fixture
def pictures(tmp_path):
    """Twenty pictures of blobs."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for i in range(20):
        rng = np.random.default_rng(i)
        picture = cv2.GaussianBlur(rng.uniform(0, 255, (60, 80, 3)), (0, 0), 8)
        stretched = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        cv2.imwrite(str(folder / f'{i:02}.png'), stretched)
    return folder


def test_a_student_comes_to_agree_with_its_teacher(tmp_path, pictures, miniature):
    teacher = lively_network(dataclasses.replace(MINIATURE, vit_depth=4))
    save_network(tmp_path / 'teacher.safetensors', teacher, {})
    student = DepthPro(MINIATURE)
    take_over(student, teacher)  # all but its last block
    save_network(tmp_path / 'student.safetensors', student, {})
    output = tmp_path / 'out.safetensors'
    who = ['--teacher', str(tmp_path / 'teacher.safetensors'), '--images', str(pictures)]
    into = ['--student', str(tmp_path / 'student.safetensors'), '--output', str(output)]
    how = ['--stage', '1', '--steps', '100', '--batch', '8', '--rate', '2e-3']
    assert cli.main(['distil', *who, *into, *how]) == 0
    labels = open_frames(output.with_suffix('.labels'))
    assert len(labels) == 20 and labels[0].rgb.shape == (60, 80, 3)
    _, held_out = labels.hold_out()
    before = measure(by_network(student), held_out, MINIATURE)
    after = measure(by_network(load_network(output).float()), held_out, MINIATURE)
    assert after['abs_rel'] < 0.9 * before['abs_rel']
    own = measure(by_network(teacher), labels, MINIATURE)
    assert own['fov_error_deg'] < 0.5  # the pictures are kept as JPEG
    losses = depth_losses(output, '1')
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_fine_tuning_on_a_folder_of_ones_own(tmp_path, miniature):
    entries = []
    for i in range(10):
        depth_m = np.linspace(1, 2 + 0.2 * i, 80)[None].repeat(60, 0)
        grey = (250 / depth_m).astype(np.uint8)[..., None].repeat(3, -1)
        millimetres = (1000 * depth_m).astype(np.uint16)
        millimetres[:, 20:30] = 0
        cv2.imwrite(str(tmp_path / f'f{i}.png'), grey)
        cv2.imwrite(str(tmp_path / f'd{i}.png'), millimetres)
        entry = {'name': f'hall_{i}', 'image': f'f{i}.png', 'depth': f'd{i}.png', 'fx': 70.0}
        entries.append({**entry, 'depth_units_per_metre': 1000})
    (tmp_path / 'frames.json').write_text(json.dumps({'frames': entries}))
    output = tmp_path / 'tuned.safetensors'
    start = tmp_path / 'start.safetensors'
    save_network(start, start_network('none'), {})
    how = ['--stage', '1', '--steps', '100', '--batch', '6', '--rate', '5e-3']
    data = ['--data', str(tmp_path), str(tmp_path)]
    command = ['train', *data, '--init', str(start), '--output', str(output)]
    assert cli.main([*command, *how]) == 0
    assert read_record(output)['frames'] == 18  # without the last tenth of each
    _, held_out = open_frames(tmp_path).hold_out()
    assert np.isnan(held_out[0].depth_m[:, 22:28]).all()
    before = measure(by_network(load_network(start).float()), held_out, MINIATURE)
    after = measure(by_network(load_network(output).float()), held_out, MINIATURE)
    assert after['abs_rel'] < 0.7 * before['abs_rel']


def test_a_focal_length_is_given_to_frames_that_know_none(tmp_path, capsys):
    entries = []
    for name, fx in (('a', {}), ('b', {'fx': 80.0})):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((60, 80, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'{name}_d.png'), np.full((60, 80), 2000, np.uint16))
        files = {'image': f'{name}.png', 'depth': f'{name}_d.png', 'depth_units_per_metre': 1000}
        entries.append({'name': name, **files, **fx})
    (tmp_path / 'frames.json').write_text(json.dumps({'frames': entries}))
    assert len(list(open_frames(tmp_path).some())) == 1
    assert 'a has no focal length: give --focal-px' in capsys.readouterr().out
    found = [frame.fov_deg for frame in open_frames(tmp_path, focal_px=40.0).some()]
    assert found == pytest.approx([90, 2 * np.degrees(np.arctan(0.5))])


def test_one_frame_cannot_be_learned_from_and_held_out(tmp_path, miniature, capsys):
    frame = Frame(np.zeros((48, 48, 3), np.uint8), np.full((48, 48), 2.0, np.float16), 60.0)
    write_frames(tmp_path / 'one', [frame], {})
    where = ['--data', str(tmp_path / 'one'), '--output', str(tmp_path / 'a.safetensors')]
    how = ['--init', 'none', '--stage', '2', '--steps', '1', '--batch', '1']
    assert cli.main(['train', *where, *how]) == 1
    assert 'one cannot be both learned from and held out' in capsys.readouterr().err
    assert cli.main(['train', *where, *how, '--held-out', str(tmp_path / 'one')]) == 0


def test_a_larger_network_learns_from_larger_pictures(tmp_path, monkeypatch):
    larger, found = dataclasses.replace(MINIATURE, tile_size=640), []
    monkeypatch.setattr(commands, 'run_stages', lambda *given: found.append(given) or 0)
    frame = Frame(np.zeros((700, 800, 3), np.uint8), np.full((700, 800), 2.0, np.float16), 60.0)
    write_frames(tmp_path / 'frames', [frame] * 2, {})
    weights, data = str(tmp_path / 'large.safetensors'), str(tmp_path / 'frames')
    save_network(tmp_path / 'large.safetensors', DepthPro(larger), {})
    save_network(tmp_path / 'teacher.safetensors', lively_network(MINIATURE), {})
    output = ['--output', str(tmp_path / 'out.safetensors')]
    held_out = ['--held-out', data]
    assert cli.main(['train', '--init', weights, '--data', data, *held_out, *output]) == 0
    teach = ['distil', '--teacher', str(tmp_path / 'teacher.safetensors'), '--student', weights]
    assert cli.main([*teach, '--images', data, *held_out, *output]) == 0
    for _, _, *parts, _ in found:
        assert all(each[0].rgb.shape == (640, 731, 3) for each in parts)


def test_bad_input_ends_in_one_line(tmp_path, capsys):
    output = ['--output', str(tmp_path / 'x.safetensors')]
    empty = tmp_path / 'empty'
    empty.mkdir()
    for command, message in (
        (['train', '--data', str(empty), '--init', 'none'], 'has none of the layouts'),
        (['train', '--data', str(empty), '--init', 'nowhere.safetensors'], 'nowhere.safetensors'),
        (['distil', '--images', str(empty), '--teacher', 'small'], 'holds no pictures'),
        (['train', '--data', str(empty), '--preset', 'large'], 'DINOv2 ViT-S fits `small` only'),
    ):
        assert cli.main([*command, *output]) == 1
        error = capsys.readouterr().err.strip()
        assert message in error and 'Traceback' not in error


def test_a_missing_library_is_said_before_training_not_after(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    where = ['--data', str(tmp_path), '--output', str(tmp_path / 'x.safetensors')]
    assert cli.main(['train', '--init', 'none', *where]) == 1
    assert "pip install 'depth_pro_ros[train]'" in capsys.readouterr().err


@pytest.mark.parametrize('grids', [(64, 128), (128, 64)])
def test_a_network_takes_over_what_fits_another_size(grids):
    source, target = (DepthPro(dataclasses.replace(MINIATURE, tile_size=t)) for t in grids)
    assert take_over(target, source) == []
    small, large = sorted((source, target), key=lambda n: n.config.tile_size)
    picture = torch.rand(1, 3, small.config.image_size, small.config.image_size) * 0.1
    bigger = torch.nn.functional.interpolate(picture, scale_factor=2)
    with torch.inference_mode():
        a, b = small(picture).fov_deg, large(bigger).fov_deg
    torch.testing.assert_close(a, b, atol=3, rtol=0.1)


def test_a_network_takes_over_from_one_of_more_or_fewer_scales():
    more = dataclasses.replace(MINIATURE, scales=3, neck_dims=(24, 24, 32, 40, 32))
    three = DepthPro(more)
    two = DepthPro(dataclasses.replace(MINIATURE, scales=2, neck_dims=(24, 24, 32, 32)))
    assert take_over(two, three) == []
    fresh = take_over(two, DepthPro(MINIATURE))
    levels = ('encoder.upsample0', 'decoder.convs.2', 'decoder.fusions.2')
    assert fresh and all(name.startswith(levels) for name in fresh)
    assert take_over(two, three) == []
    torch.testing.assert_close(
        two.decoder.fusions[3].out_conv.weight, three.decoder.fusions[4].out_conv.weight
    )
    torch.testing.assert_close(two.decoder.convs[2].weight, three.decoder.convs[2].weight)


@pytest.fixture
def depth_bag(tmp_path):
    """A bag of six pictures with CameraInfo (f = 60) and millimetres, one of them without."""
    messages = {'/depth': [], '/image': []}
    for i in range(6):
        stamp = i * bag_helpers.PERIOD_NS
        messages['/image'].append((stamp, bag_helpers.raw_image(i)))
        millimetres = np.full((48, 64), 1500 + 100 * i, np.uint16)
        millimetres[:, :10] = 0
        data = encode_depth(millimetres)
        form = '16UC1; compressedDepth png'
        packed = np.frombuffer(data, np.uint8)
        if i != 3:
            depth = bag_helpers.make[bag_helpers.COMPRESSED](bag_helpers.header(i), form, packed)
            messages['/depth'].append((stamp + 1000, depth))
    topics = {
        '/camera/image_raw': (bag_helpers.IMAGE, messages['/image']),
        '/camera/camera_info': (bag_helpers.INFO, [(0, bag_helpers.camera_info(0))]),
        '/camera/depth/compressedDepth': (bag_helpers.COMPRESSED, messages['/depth']),
    }
    return bag_helpers.write_bag(tmp_path / 'bag', topics)


def test_a_bag_with_depth_gives_frames(depth_bag):
    frames = open_frames(depth_bag)
    assert len(frames) == 5
    np.testing.assert_array_equal(frames[3].rgb, bag_helpers.picture(4))
    np.testing.assert_allclose(frames[3].depth_m[:, 10:], 1.9, rtol=1e-3)
    assert np.isnan(frames[3].depth_m[:, :10]).all()
    assert frames[0].fov_deg == pytest.approx(2 * np.degrees(np.arctan(32 / 60)))
    assert open_frames(depth_bag, focal_px=32).__getitem__(0).fov_deg == pytest.approx(90)


def test_a_bag_without_depth_or_focal_length_says_so(tmp_path):
    plain = bag_helpers.camera_bag(tmp_path / 'plain')
    with pytest.raises(BagError, match='has no depth; its topics are'):
        open_frames(plain)
    times = [(0, bag_helpers.raw_image(0, '32FC1'))]
    topics = {
        '/camera/image_raw': (bag_helpers.IMAGE, [(0, bag_helpers.raw_image(0))]),
        '/camera/depth': (bag_helpers.IMAGE, times),
    }
    bag = bag_helpers.write_bag(tmp_path / 'uncalibrated', topics)
    with pytest.raises(BagError, match='no calibration beside .*: give --focal-px'):
        open_frames(bag)
    assert (open_frames(bag, focal_px=60)[0].depth_m == 1).all()


def test_depth_of_another_view_is_refused(tmp_path):
    image, depth = bag_helpers.raw_image(0), bag_helpers.raw_image(0, '32FC1')
    topics = {
        '/camera/image_raw': (bag_helpers.IMAGE, [(0, image)]),
        '/camera/depth': (bag_helpers.IMAGE, [(0, depth)]),
    }
    for number, name in enumerate(['', 'camera_optical_frame', 'camera_depth_optical_frame']):
        depth.header.frame_id = name
        bag = bag_helpers.write_bag(tmp_path / str(number), topics)
        if number < 2:
            assert len(open_frames(bag, focal_px=60)) == 1
    with pytest.raises(BagError, match='/camera/depth from camera_depth_optical_frame: record'):
        open_frames(bag, focal_px=60)


def test_a_calibration_that_does_not_fit_is_said_and_damaged_pictures_are_told_of(tmp_path, capsys):
    times_ns = [i * bag_helpers.PERIOD_NS for i in range(3)]
    images = [(time, bag_helpers.compressed_image(i)) for i, time in enumerate(times_ns)]
    images[1] = (times_ns[1], bag_helpers.compressed_image(1, data=b'\xff\xd8 no'))
    depths = [(time, bag_helpers.raw_image(i, '32FC1')) for i, time in enumerate(times_ns)]
    topics = {
        '/camera/image_raw/compressed': (bag_helpers.COMPRESSED, images),
        '/camera/camera_info': (bag_helpers.INFO, [(0, bag_helpers.camera_info(0, height=64))]),
        '/camera/depth': (bag_helpers.IMAGE, depths),
    }
    bag = bag_helpers.write_bag(tmp_path / 'bag', topics)
    with pytest.raises(BagError, match='camera_info is for 64x64, .*: give --focal-px'):
        open_frames(bag)
    assert len(open_frames(bag, focal_px=60)) == len(list(open_pictures(bag))) == 2
    assert capsys.readouterr().out.count('left out: /camera/image_raw/compressed') == 2


def test_distil_takes_topic_and_every_of_its_held_out_bag_too(
    tmp_path, depth_bag, miniature, monkeypatch
):
    found = []
    monkeypatch.setattr(commands, 'run_stages', lambda *given: found.append(given) or 0)
    weights = tmp_path / 'weights.safetensors'
    save_network(weights, lively_network(MINIATURE), {})
    command = ['distil', '--teacher', str(weights), '--student', str(weights)]
    command += ['--images', str(depth_bag)]
    command += ['--held-out', str(depth_bag), '--every', '2', '--topic', '/camera/image_raw']
    assert cli.main([*command, '--output', str(tmp_path / 'out.safetensors')]) == 0
    _, _, frames, held_out, _ = found[0]
    assert len(frames) == len(held_out) == 3


def test_a_teacher_labels_the_pictures_of_a_bag(tmp_path, depth_bag):
    teacher = lively_network(MINIATURE)
    label(teacher, open_pictures(depth_bag), tmp_path / 'labels', {'teacher': 'a'})
    labels = open_frames(tmp_path / 'labels')
    assert len(labels) == 6 and labels[5].rgb.shape == (48, 64, 3)
    assert np.isfinite(labels[5].depth_m).all()


@pytest.mark.parametrize('prefers', [True, False])
def test_a_teacher_answers_in_the_arithmetic_of_training(monkeypatch, prefers):
    monkeypatch.setattr(training, 'cpu_prefers_bf16', lambda: prefers)
    teacher, found = lively_network(MINIATURE), []
    teacher.register_forward_hook(lambda *_: found.append(torch.is_autocast_enabled('cpu')))
    answer = distil.answer(teacher, bag_helpers.picture(0))
    looks = survey.look_around(teacher, lambda view, rng: bag_helpers.picture(0))
    assert set(found) == {prefers and not torch.cuda.is_available()}
    assert np.isfinite(answer.depth_m).all() and looks.dtype == np.float32


def test_labelling_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    pictures = [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(5)]
    teacher, folder = lively_network(MINIATURE), tmp_path / 'labels'
    with pytest.raises(ValueError, match='none of the pictures'):
        label(teacher, [], folder, {'teacher': 'mistyped'})

    def cut_off():
        yield from pictures[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(teacher, cut_off(), folder, {'teacher': 'a'})
    asked = []
    known = distil.answer
    monkeypatch.setattr(distil, 'answer', lambda t, rgb, px: asked.append(rgb) or known(t, rgb, px))
    new = np.full((48, 64, 3), 250, np.uint8)  # shifts all others
    label(teacher, [new, *pictures], folder, {'teacher': 'a'})
    assert len(asked) == 3
    levels = [frame.rgb.mean() for frame in open_frames(folder).some()]
    np.testing.assert_allclose(levels, [250, 0, 40, 80, 120, 160], atol=1)
    with pytest.raises(ValueError, match='of another teacher'):
        label(teacher, pictures, folder, {'teacher': 'b'})


def test_depth_that_is_recorded_late_finds_its_picture():
    images_s = np.arange(8) / 60
    assert pairs(images_s, images_s + 0.001) == {i: i for i in range(8)}
    assert pairs(images_s, images_s[::2]) == {2 * i: i for i in range(4)}
    assert pairs(images_s, np.array([np.nan, images_s[3], 99.0])) == {3: 1}


def test_a_network_of_many_tiles_learns_from_fewer_pictures_at_once():
    one, many = (choose(['1', 'fov'], None, None, None, tiles) for tiles in (1, 35))
    assert [stage.batch for stage in one] == [12, 12]
    assert [stage.batch for stage in many] == [1, 1]
    assert choose(['1'], None, 4, None, 35)[0].batch == 4


def test_the_same_seed_gives_the_same_network(tmp_path, miniature):
    grey, weights, folder = np.full((48, 48, 3), 99, np.uint8), [], tmp_path / 'frames'
    write_frames(folder, [Frame(grey, np.full((48, 48), 2.0, np.float16), 60.0)] * 4, {})
    for name in ('a', 'b'):
        output = tmp_path / f'{name}.safetensors'
        where = ['--data', str(folder), '--held-out', str(folder), '--output', str(output)]
        run = ['--init', 'none', '--seed', '5', '--stage', '1', '--steps', '2', '--batch', '2']
        assert cli.main(['train', *where, *run]) == 0
        weights.append(load_network(output).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_freezing_a_random_vit_says_what_to_give(tmp_path, capsys):
    where = ['--data', str(tmp_path), '--output', str(tmp_path / 'out.safetensors')]
    assert cli.main(['train', *where, '--init', 'none', '--freeze-vit']) == 1
    assert '--init' in capsys.readouterr().err


def test_frames_without_known_depth_cost_no_step(tmp_path):
    network = start_network('none', None, 64)
    rgb = np.zeros((192, 192, 3), np.uint8)
    blind = Frame(rgb, np.full((192, 192), np.nan, np.float16), 60.0, exact=False)
    sparse = np.full((192, 192), np.nan, np.float16)
    sparse[::5, ::5] = 2.0
    seen = Frame(rgb, sparse, 60.0, exact=False)
    stage = Stage('1', 1, 2, 1e-3, 0.0)
    batch = collate([blind, seen], network.config, network.config.answer_size)
    assert batch.inverse_depth[1].isfinite().float().mean() > 0.3
    for pictures in ([blind, seen], [blind, blind]):
        batch = collate(pictures, network.config, network.config.answer_size)
        loss, _ = compute_loss(network, batch, stage)
        assert torch.isfinite(loss)


def test_a_frame_that_cannot_be_read_is_left_out(data_with_a_bad_frame, capsys):
    frames = data_with_a_bad_frame
    assert len(list(frames.some())) == 9
    rng = np.random.default_rng(0)
    for _ in range(30):
        frames.draw(rng)
    assert capsys.readouterr().out.count('left out') == 1


@pytest.fixture
def data_with_a_bad_frame(tmp_path):
    """Ten rendered frames, one of them damaged."""
    rgb, depth_m = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float16)
    write_frames(tmp_path / 'rooms', [Frame(rgb, depth_m, 60.0)] * 10, {})
    (tmp_path / 'rooms' / '000004.npz').write_bytes(b'')
    return open_frames(tmp_path / 'rooms')
