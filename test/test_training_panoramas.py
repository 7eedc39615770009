"""Views of panoramas: their geometry, and the metric depth that a survey of them gives."""

import cv2
import numpy as np
import pytest
import torch
from networks import MINIATURE

from depth_pro_ros import cli
from depth_pro_ros.images import read_light
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import read_record, save_network
from depth_pro_ros.training import panoramas, survey
from depth_pro_ros.training.camera_view import look
from depth_pro_ros.training.rooms import Frame, write_frames
from depth_pro_ros.training.sphere import angles, directions, look_up

TRIPOD_M = 1.4
ROOM = np.array([[-3.0, -2.0, -TRIPOD_M], [4.0, 2.5, 1.2]])
"""Walls, floor and ceiling as the camera at (0, 0, 0) sees them, in metres."""


@pytest.fixture
def distance_m():
    """The distance to the walls of an empty room along each ray of a map."""
    return to_walls(directions(survey.HEIGHT, survey.WIDTH))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DepthPro(MINIATURE).eval()


def to_walls(towards):
    """Give how often directions (h, w, 3) reach up to a wall, the floor or the ceiling."""
    towards = np.where(np.abs(towards) < 1e-9, 1e-9, towards)
    return np.where(towards > 0, ROOM[1] / towards, ROOM[0] / towards).min(axis=-1)


def true_floor(distance_m):
    height_m = distance_m * np.sin(angles(*distance_m.shape)[1])[:, None]
    return np.isclose(height_m, -TRIPOD_M)


def test_a_view_shows_what_lies_in_its_direction():
    sphere = directions(256, 512)
    view = look((0, 0, 0), 0.7, -0.3, 0.1, 70.0, 4 / 3)
    towards = view.rays(80, 60)
    unit = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    np.testing.assert_allclose(look_up(sphere, towards, cv2.INTER_LINEAR), unit, atol=1e-3)
    middle = unit[29:31, 39:41].mean(axis=(0, 1))
    forward = [np.cos(-0.3) * np.cos(0.7), np.cos(-0.3) * np.sin(0.7), np.sin(-0.3)]
    np.testing.assert_allclose(middle, forward, atol=0.01)


def test_the_seam_behind_the_camera_is_closed():
    longitude, _ = angles(64, 128)
    sphere = np.repeat(np.sin(longitude)[None], 64, axis=0)
    behind = np.array([[[-1.0, 0.005, 0.0], [-1.0, -0.005, 0.0]]])
    seen = look_up(sphere, behind, cv2.INTER_LINEAR)
    np.testing.assert_allclose(seen, [[0.005, -0.005]], atol=1e-4)


def test_left_is_left_and_down_is_down():
    view = look((0, 0, 0), 0.0, 0.0, 0.0, 90.0, 1.0)
    towards = view.rays(10, 10)
    assert (towards[:, 0, 1] > 0).all() and (towards[0, :, 2] > 0).all()  # Y to the left, Z up
    np.testing.assert_allclose(towards[..., 0], 1)


def test_the_depth_of_a_view_gives_the_distances_around(distance_m):
    view = look((0, 0, 0), 0.7, -0.3, 0.1, 80.0, 4 / 3)
    c = 0.5 / view.tan_half_x / to_walls(view.rays(192, 192))  # stretched to a square
    seen = survey.seen_by(view, c.astype(np.float32), directions(*distance_m.shape))
    inside = np.isfinite(seen)
    assert 0.06 < inside.mean() < 0.09
    assert np.quantile(np.abs(seen[inside] / distance_m[inside] - 1), 0.98) < 0.01


def test_the_floor_is_found_in_distances_of_any_scale(distance_m):
    floor, truth = survey.find_floor((distance_m / 2.5) ** 0.8), true_floor(distance_m)
    assert (floor & truth).sum() > 0.9 * truth.sum()
    assert (floor & ~truth).sum() < 0.15 * truth.sum()


@pytest.mark.parametrize(('factor', 'exponent'), [(2.0, 1.0), (0.7, 1.0), (1.5, 0.8), (1.2, 1.3)])
def test_the_floor_makes_metres_of_all_around(distance_m, monkeypatch, factor, exponent):
    believed = (distance_m / factor) ** (1 / exponent)
    rng = np.random.default_rng(0)
    looks = believed * rng.lognormal(0, 0.05, (8, *believed.shape))
    looks[:, distance_m.shape[0] * 7 // 8 :] = np.nan  # nobody looks straight down
    monkeypatch.setattr(survey, 'look_around', lambda network, photograph: looks)
    found = survey.survey(None, None, TRIPOD_M)
    known = np.isfinite(found)
    error = np.abs(found[known] / distance_m[known] - 1)
    assert known.mean() > 0.75 and np.median(error) < 0.03 and np.quantile(error, 0.95) < 0.15
    assert not known[distance_m.shape[0] * 7 // 8 :].any()


@pytest.mark.parametrize('radius', [0.5, 1.0, 3.0])
def test_without_a_floor_nothing_is_metric(distance_m, monkeypatch, radius):
    ball = np.full((4, *distance_m.shape), radius)
    ball[:, distance_m.shape[0] * 7 // 8 :] = np.nan
    monkeypatch.setattr(survey, 'look_around', lambda network, photograph: ball)
    with pytest.raises(ValueError, match='no floor'):
        survey.survey(None, None, TRIPOD_M)


def test_the_fit_does_not_follow_what_stands_on_the_floor():
    x = np.geomspace(0.5, 5, 200)
    y = 1.8 * x**0.9
    y[::5] *= 0.4
    np.testing.assert_allclose(survey.fit(x, y), (1.8, 0.9), rtol=0.03)


def test_a_network_looks_all_around(network):
    def grey(view, rng):
        return np.full((60, 80, 3), 128, np.uint8)

    looks = survey.look_around(network, grey)
    assert looks.shape == (survey.LOOKS, survey.HEIGHT, survey.WIDTH)
    seen = np.isfinite(looks).any(axis=0)
    near_horizon = np.abs(angles(*seen.shape)[1]) < np.radians(20)
    assert seen[near_horizon].mean() > 0.98 and np.nanmin(looks) > 0


def test_each_pixel_of_a_view_has_the_depth_of_what_it_shows(monkeypatch, distance_m):
    linear, taken = np.ones((256, 512, 3), np.float16), []
    monkeypatch.setattr(panoramas, 'look', lambda *a: taken.append(look(*a)) or taken[-1])
    for number in range(5):
        frame = panoramas.draw_view(linear, distance_m.astype(np.float32), [0, number])
        true_m = to_walls(taken[-1].rays(*frame.rgb.shape[1::-1]))
        assert np.quantile(np.abs(frame.depth_m / true_m - 1), 0.95) < 0.02


def test_the_sharpness_of_a_view_does_not_tell_its_width(distance_m):
    linear = np.random.default_rng(0).random((256, 512, 3)).astype(np.float16)
    frames = [panoramas.draw_view(linear, distance_m.astype(np.float32), [0, n]) for n in range(20)]
    assert len({frame.rgb.shape[1] for frame in frames}) == 1
    assert {frame.depth_m.shape for frame in frames} == {frame.rgb.shape[:2] for frame in frames}
    widths = [frame.fov_deg for frame in frames]
    assert min(widths) < 55 and max(widths) > 85
    for frame in frames:
        assert not frame.exact
    again = panoramas.draw_view(linear, distance_m.astype(np.float32), [0, 3])
    np.testing.assert_array_equal(again.rgb, frames[3].rgb)


def test_a_folder_of_panoramas_gives_views_and_tells_what_it_left_out(
    tmp_path, network, distance_m, monkeypatch, capsys
):
    monkeypatch.setattr(panoramas, 'survey', lambda *_: distance_m.astype(np.float32))
    grey = np.full((256, 512, 3), 100, np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), grey)
    cv2.imwrite(str(tmp_path / 'b.hdr'), grey.astype(np.float32))
    cv2.imwrite(str(tmp_path / 'narrow.png'), grey[:, :500])
    (tmp_path / 'broken.hdr').write_bytes(b'no')
    frames = panoramas.open_panoramas(tmp_path, network, TRIPOD_M, views=3)
    assert len(frames) == 6 and all(frame is not None for frame in frames.some())
    told = capsys.readouterr()
    assert 'narrow.png' in told.out + told.err and 'broken.hdr' in told.out + told.err


def test_a_folder_without_panoramas_says_so(tmp_path, network):
    with pytest.raises(ValueError, match='no panorama'):
        panoramas.open_panoramas(tmp_path, network, TRIPOD_M)


def test_panoramas_need_weights_that_know_depth(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((64, 128, 3), np.uint8))
    output = str(tmp_path / 'a.safetensors')
    command = ['train', '--data', str(tmp_path), '--panoramas', str(tmp_path), '--output', output]
    assert cli.main([*command, '--init', 'none']) != 0
    assert '--init' in capsys.readouterr().err


def test_a_tripod_without_panoramas_says_what_is_missing(tmp_path, capsys):
    output = str(tmp_path / 'a.safetensors')
    command = ['train', '--data', str(tmp_path), '--tripod-m', '1.2', '--output', output]
    assert cli.main(command) != 0
    assert '--panoramas' in capsys.readouterr().err


def test_a_network_learns_from_panoramas_beside_rooms(tmp_path, network, distance_m, monkeypatch):
    monkeypatch.setattr(panoramas, 'survey', lambda *_: distance_m.astype(np.float32))
    monkeypatch.setattr(DepthProConfig, 'small', classmethod(lambda cls: MINIATURE))
    rng = np.random.default_rng(0)
    (tmp_path / 'around').mkdir()
    cv2.imwrite(str(tmp_path / 'around/a.png'), rng.integers(0, 255, (256, 512, 3), np.uint8))
    room = Frame(rng.integers(0, 255, (96, 96, 3), np.uint8), np.full((96, 96), 2.0), 60.0)
    write_frames(tmp_path / 'rooms', [room] * 10, {})
    save_network(tmp_path / 'start.safetensors', network, {})
    paths = {'--data': 'rooms', '--panoramas': 'around', '--init': 'start.safetensors'}
    where = [word for option, name in paths.items() for word in (option, str(tmp_path / name))]
    output = tmp_path / 'a.safetensors'
    run = ['--stage', '1', '--steps', '10', '--batch', '2', '--tripod-m', '1.4']
    assert cli.main(['train', *where, *run, '--output', str(output)]) == 0
    record = read_record(output)
    assert record['frames'] == 9 + panoramas.VIEWS and record['tripod_m'] == '1.4'


def test_light_is_read_from_pictures_of_any_depth(tmp_path):
    levels = np.array([[[0, 0, 255], [0, 128, 0]]], np.uint8)  # BGR
    cv2.imwrite(str(tmp_path / '8.png'), levels)
    cv2.imwrite(str(tmp_path / '16.png'), levels.astype(np.uint16) * 257)
    light = (levels[..., ::-1] / np.float32(255)) ** 2.2
    cv2.imwrite(str(tmp_path / 'a.hdr'), 3 * light[..., ::-1])
    for name, factor in (('8.png', 1), ('16.png', 1), ('a.hdr', 3)):
        np.testing.assert_allclose(read_light(tmp_path / name), factor * light, atol=0.02)
