"""Rendered rooms: deterministic, with depth that agrees with geometry. Needs EGL and furniture."""

import itertools
import json
import os
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from depth_pro_ros import cli
from depth_pro_ros.images import ImageError
from depth_pro_ros.training import furniture, rooms
from depth_pro_ros.training.camera_view import look
from depth_pro_ros.training.furniture import FurnitureMissingError
from depth_pro_ros.training.scene import Light, Material, Scene, box_item
from depth_pro_ros.training.street import build_street
from depth_pro_ros.training.surfaces import load_surfaces


@pytest.fixture(scope='module')
def pieces():
    try:
        return furniture.catalogue()
    except FurnitureMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='module')
def renderer():
    pytest.importorskip('moderngl')
    from depth_pro_ros.training.renderer import Renderer

    try:
        return Renderer(96)
    except RuntimeError as error:
        pytest.skip(str(error))


def test_missing_furniture_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv('SWEETHOME3D_FURNITURE', str(tmp_path))
    with pytest.raises(FurnitureMissingError, match='apt-get install sweethome3d-furniture'):
        furniture.catalogue()


def test_catalogue_has_sizes_in_metres_and_a_held_out_tenth(pieces):
    held_out = [piece for piece in pieces if piece.held_out]
    assert 0.03 < len(held_out) / len(pieces) < 0.2
    tables = [piece.size_m[2] for piece in pieces if piece.name == 'table']
    assert 0.4 < np.median(tables) < 1.0


def test_a_mesh_has_the_size_of_its_catalogue_entry(pieces):
    piece = next(p for p in pieces if 'chair' in p.name)
    positions = furniture.load_mesh(piece).vertices['position']
    np.testing.assert_allclose(np.ptp(positions, axis=0), piece.size_m, atol=1e-3)
    assert positions[:, 2].min() == pytest.approx(0, abs=1e-4)


def test_depth_of_a_box_is_exact(renderer):
    scene = Scene(np.array([4.0, 6.0, 2.5]), lights=[Light((2, 3, 2.4, 1), (1, 1, 1))])
    scene.items.append(box_item((1.0, 1.0, 2.0), (2.0, 3.5, 0.0), Material()))
    renderer.prepare(scene)
    view = look((2.0, 1.0, 1.0), np.pi / 2, 0.0, 0.0, 60.0, 1.0)
    rgb, depth_m = renderer.render(view)
    assert rgb.shape == (96, 96, 3) and rgb[48, 48].max() > 0
    # The front face stands 2 m away, one metre wide: 48 / (2 tan 30) = 41.6 px to either side / 2.
    assert depth_m[48, 48] == pytest.approx(2.0, abs=1e-4)
    assert (depth_m[40] > 0).sum() == pytest.approx(0.5 / (2 * np.tan(np.pi / 6)) * 96, abs=2)


def test_streets_are_open_wide_and_full_of_things(pieces, renderer):
    rng = np.random.default_rng(3)
    scenes = [build_street(pieces, rng) for _ in range(3)]
    depths = []
    for scene in scenes:
        assert any(item.size_m[2] > 4 for item in scene.items if item.solid)  # houses
        assert any(isinstance(item.shape, furniture.Furniture) for item in scene.items)
        renderer.prepare(scene)
        x, y, _ = scene.size_m
        rgb, depth_m = renderer.render(look((x / 2, 0.1 * y, 1.5), np.pi / 2, 0.0, 0.0, 60.0, 1.0))
        assert rgb.std() > 0.01
        # 1.5 m over the ground, the lowest ray looks down by 30 degrees
        assert depth_m[-1].max() < 1.5 / np.tan(np.pi / 6) + 0.1
        depths.append(depth_m)
    assert np.mean(np.stack(depths) > 10) > 0.3 and np.max(depths) > 50


def test_a_seed_gives_the_same_room(pieces, renderer, monkeypatch):
    monkeypatch.setattr(rooms, 'VIEWS_PER_ROOM', 2)
    one, two = (rooms.render_room(renderer, 5, size_px=64) for _ in range(2))
    assert one
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.rgb, b.rgb)
        np.testing.assert_array_equal(a.depth_m, b.depth_m)
        assert a.fov_deg == b.fov_deg
        assert 35 <= a.fov_deg <= 110
        assert a.depth_m.min() > 0.05


def test_surfaces_wear_photographs_where_there_are_any(renderer):
    red, green = np.zeros((2, 1, 128, 128, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    scene = Scene(np.array([4.0, 6.0, 2.5]), lights=[Light((2, 1, 2.4, 1), (9, 9, 9))])
    grey = (0.5, 0.5, 0.5)
    scene.items.append(box_item((1, 1, 2), (1.4, 3.5, 0), Material(rgb_a=grey, photo_m=0.5)))
    scene.items.append(box_item((1, 1, 2), (2.6, 3.5, 0), Material(rgb_a=grey)))
    view = look((2.0, 1.0, 1.0), np.pi / 2, 0.0, 0.0, 60.0, 1.0)

    def sides(photos):
        drawer = type(renderer)(96, photos)
        drawer.context.gc_mode = None  # freed by number in the next one's context, at any time
        drawer.prepare(scene)
        rgb, _ = drawer.render(view)
        drawer.context.release()
        return rgb[48, 30], rgb[48, 66]  # the box with a photograph, and the one without

    plain, other = sides(None)
    np.testing.assert_allclose(plain / plain[0], 1, atol=0.05)
    for photos, channel in ((red, 0), (green, 1)):
        shown, beside = sides(photos)
        assert shown[channel] > 0.05
        np.testing.assert_allclose(np.delete(shown, channel), 0, atol=1e-3)
        np.testing.assert_allclose(beside, other)


def test_surfaces_are_square_and_a_tenth_is_held_out(tmp_path):
    names = [f'{number}.png' for number in range(60)]
    for number, name in enumerate(names):
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[:, 10:50, 2] = 100 + number  # the middle square is red
        cv2.imwrite(str(tmp_path / name), picture)
    held_out = sum(zlib.crc32(name.encode()) % 10 == 0 for name in names)
    shown = load_surfaces(tmp_path)
    assert shown.shape == (60 - held_out, 128, 128, 3)
    kept_back = load_surfaces(tmp_path, held_out=True)
    assert len(kept_back) == held_out
    reds = np.concatenate([shown, kept_back])[:, 64, 0]
    np.testing.assert_array_equal(np.sort(reds[:, 0]), 100 + np.arange(60))  # none is in both
    assert not reds[:, 1:].any()


def test_furnished_rooms_have_surfaces_for_photographs(pieces):
    for seed in range(3):
        scene, _ = rooms.build_room(seed)
        wearing = [item.material.photo_m > 0 for item in scene.items]
        assert any(wearing) and not all(wearing)


def test_the_list_of_frames_tells_what_they_were_made_of(tmp_path, pieces, renderer):
    photos = tmp_path / 'photos'
    photos.mkdir()
    for number in range(4):
        cv2.imwrite(str(photos / f'{number}.png'), np.full((8, 8, 3), 50 * number, np.uint8))
    where = ['--output', str(tmp_path / 'rooms'), '--surfaces', str(photos), '--workers', '1']
    where += ['--preview', str(tmp_path / 'new' / 'sheet.png')]
    assert cli.main(['rooms', '--count', '2', '--size', '48', '--seed', '7', *where]) == 0
    told = json.loads((tmp_path / 'rooms' / 'frames.json').read_text())
    assert [entry['name'] for entry in told.pop('frames')] == ['000000', '000001']
    assert told == {'seed': 7, 'held_out': False, 'surfaces': 4}
    assert cv2.imread(str(tmp_path / 'new' / 'sheet.png')).shape == (192, 8 * 192, 3)


@pytest.mark.parametrize('lack', ['moderngl', 'EGL'])
def test_where_nothing_can_be_drawn_the_command_says_what_to_install(pieces, tmp_path, lack):
    environment = {**os.environ, '__EGL_VENDOR_LIBRARY_FILENAMES': str(tmp_path)}
    message = 'apt-get install libegl1 libgl1 libgl1-mesa-dri'
    if lack == 'moderngl':
        absent = "raise ModuleNotFoundError('there is none', name='moderngl')\n"
        (tmp_path / 'moderngl.py').write_text(absent)
        paths = [str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])]
        environment['PYTHONPATH'] = os.pathsep.join(paths)
        message = "moderngl is missing: pip install 'depth_pro_ros[train]'"
    else:
        pytest.importorskip('moderngl')
    command = [sys.executable, '-m', 'depth_pro_ros.cli', 'rooms', '--count', '2', '--size', '48']
    command += ['--workers', '1', '--output', str(tmp_path / 'rooms')]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and 'Traceback' not in ended.stderr
    assert ended.stderr.strip().endswith(message)


def test_frames_before_an_interruption_are_listed(tmp_path):
    def cut_off():
        yield from [rooms.Frame(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8)), 60.0)] * 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rooms.write_frames(tmp_path, cut_off(), {'seed': 7})
    told = json.loads((tmp_path / 'frames.json').read_text())
    assert told['seed'] == 7 and [frame['name'] for frame in told['frames']] == ['000000', '000001']
    with pytest.raises(KeyboardInterrupt):
        rooms.write_frames(tmp_path, itertools.islice(cut_off(), 1, None), {'seed': 8})
    assert json.loads((tmp_path / 'frames.json').read_text()) == told


def test_a_contact_sheet_that_is_no_png_is_refused_before_anything_is_drawn(tmp_path, capsys):
    where = ['--output', str(tmp_path / 'rooms'), '--preview', str(tmp_path / 'sheet')]
    assert cli.main(['rooms', '--count', '2', *where]) == 1
    assert capsys.readouterr().err == f'depth_pro: --preview {tmp_path}/sheet must end in .png\n'
    assert not list(tmp_path.iterdir())


def test_useless_surfaces_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match='holds 0 pictures .* 0 of them for training rooms'):
        load_surfaces(tmp_path)
    (tmp_path / 'a.jpg').write_bytes(b'no picture')
    with pytest.raises(ImageError, match='a.jpg: not a picture'):
        load_surfaces(tmp_path)


def _die(job):
    os._exit(1)


def test_a_worker_that_dies_ends_rendering_instead_of_hanging_it(monkeypatch):
    monkeypatch.setattr(rooms, '_render_job', _die)
    with pytest.raises(RuntimeError, match='terminated abruptly'):
        list(rooms.render_jobs(iter([(0, False, 32)]), 1, (32, None)))
