"""Cropping, flipping and collating frames; camera geometry of the rendered views."""

import dataclasses

import numpy as np
import pytest
import torch
from networks import MINIATURE

from depth_pro_ros import devices
from depth_pro_ros.estimator import DepthEstimator
from depth_pro_ros.evaluation.frame import Truth
from depth_pro_ros.network import DepthPro
from depth_pro_ros.training.camera_view import look, plausible, probe_depth, sample_view
from depth_pro_ros.training.frames import (
    Frames,
    augment,
    canonical_inverse_depth,
    collate,
    crop,
    resize_known,
    soften,
)
from depth_pro_ros.training.rooms import Frame
from depth_pro_ros.training.scene import Material, Scene, box_item
from depth_pro_ros.training.sources import training_frame


@pytest.fixture
def frame() -> Frame:
    """A picture of a plane 2 m away, 90 degrees wide: C = 0.5 / 2."""
    rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    return Frame(rgb, np.full((64, 64), 2.0, np.float16), 90.0)


def test_canonical_inverse_depth(frame):
    np.testing.assert_allclose(canonical_inverse_depth(frame), 0.25, rtol=1e-5)


def test_a_crop_scales_canonical_inverse_depth_and_narrows_the_view(frame):
    half = crop(frame, 0.5, 1.0, np.zeros(2))
    assert half.rgb.shape == (32, 32, 3)
    np.testing.assert_allclose(canonical_inverse_depth(half), 0.5, rtol=1e-5)
    assert half.fov_deg == pytest.approx(np.degrees(2 * np.arctan(0.5)))


def test_collate_gives_the_network_its_convention(frame):
    batch = collate([frame, crop(frame, 0.5, 1.0, np.zeros(2))], MINIATURE, 32)
    assert batch.image.shape == (2, 3, 128, 128)
    assert batch.network_input().min() >= -1 and batch.network_input().max() <= 1
    assert batch.network_input().min() < -0.9 and batch.network_input().max() > 0.9
    torch.testing.assert_close(batch.inverse_depth.mean((1, 2, 3)), torch.tensor([0.25, 0.5]))


def test_what_does_not_fit_into_memory_is_read_again(frame, monkeypatch):
    read = []
    frames = Frames([lambda: read.append(0) or frame])
    monkeypatch.setattr(Frames, 'room_bytes', frame.rgb.nbytes)
    assert frames[0] is frames[0] is frame and len(read) == 2
    monkeypatch.setattr(Frames, 'room_bytes', 2 * frame.rgb.nbytes)
    assert frames[0] is frames[0] is frame and len(read) == 3


def test_a_container_may_use_less_than_the_machine_has(tmp_path, monkeypatch):
    limit = tmp_path / 'memory.max'
    monkeypatch.setattr(devices, 'CGROUP_LIMIT', limit)
    found = {}
    for text in ('max', '1000000000', '9' * 18):
        limit.write_text(f'{text}\n')
        found[text] = devices.whole_memory_bytes()
    assert found['1000000000'] == 10**9
    assert found['max'] == found['9' * 18] > 10**9


def test_a_slope_stays_one_whichever_side_is_enlarged():
    for height, width in ((230, 350), (745, 350), (384, 384)):
        slope = np.linspace(0.5, 1.5, width, dtype=np.float32)[None].repeat(height, 0)
        found = resize_known(slope, (384, 384))
        steps = np.diff(found, axis=1)[:, 2:-2]
        assert found.shape == (384, 384) and steps.min() > 0.5 * steps.max()
    slope[100:110] = np.nan
    assert np.isnan(resize_known(slope, (384, 384))).mean() == pytest.approx(10 / 384, rel=0.05)


@pytest.mark.parametrize('antialias', [True, False])
@pytest.mark.parametrize('size', [(96, 96), (120, 500)])
def test_a_network_learns_from_what_it_will_be_shown(size, antialias):
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    config = dataclasses.replace(MINIATURE, antialias=antialias)
    estimator = DepthEstimator(DepthPro(config), torch.device('cpu'), torch.float32)
    truth = Truth(picture, np.ones(size, np.float32), 100.0)
    taught = collate([training_frame(truth)], config, 32).network_input()
    shown = estimator._network_input(picture)
    assert (taught - shown).abs().max() * 127.5 < 1.01  # grey levels: nothing but rounding


def test_larger_pictures_are_kept_smaller_in_their_shape():
    shapes = {(375, 1242): (375, 1242), (720, 1280): (512, 910), (1080, 608): (909, 512)}
    for shape, kept in shapes.items():
        truth = Truth(np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32), shape[1] / 2)
        frame = training_frame(truth)
        assert frame.rgb.shape[:2] == frame.depth_m.shape == kept
        assert frame.fov_deg == pytest.approx(90)
        assert training_frame(truth, 1536).rgb.shape[:2] == shape


@pytest.mark.parametrize('edge', range(900, 906))
def test_an_edge_stays_where_the_picture_has_it(edge):
    near = np.arange(2048) < edge
    rgb = np.where(near, 200, 0)[None, :, None].repeat(1536, 0).repeat(3, 2).astype(np.uint8)
    depth_m = np.where(near, np.float32(1), np.float32(3))[None].repeat(1536, 0)
    frame = training_frame(Truth(rgb, depth_m, 2048.0))
    share = (1 / frame.depth_m.astype(float) - 1 / 3) / (2 / 3)
    assert 683 * share.mean() == pytest.approx(683 * frame.rgb.mean() / 200, abs=0.01)


def test_sparse_depth_is_not_thrown_away():
    depth_m = np.full((1536, 1536), np.nan, np.float32)
    depth_m[1::3, 1::3] = 2
    for offset in range(3):
        moved = np.roll(depth_m, offset, axis=(0, 1))
        frame = training_frame(Truth(np.zeros((1536, 1536, 3), np.uint8), moved, 1536.0))
        assert (frame.depth_m == 2).all() and not frame.exact


def test_augmentation_is_deterministic(frame):
    one, two = (augment(frame, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.rgb, two.rgb)
    assert one.fov_deg == two.fov_deg


def test_softening_leaves_from_all_down_to_96_pixels_of_a_side():
    rgb = np.random.default_rng(0).integers(0, 255, (384, 512, 3), np.uint8)
    rng = np.random.default_rng(1)
    heights = [soften(rgb, rng).shape[0] for _ in range(100)]
    assert 96 <= min(heights) < 110 and 340 < max(heights) <= 384
    assert soften(rgb[:60, :80], rng).shape == (60, 80, 3)


def test_probe_sees_walls_and_boxes():
    scene = Scene(np.array([4.0, 6.0, 2.5]))
    view = look((2.0, 1.0, 1.2), np.pi / 2, 0.0, 0.0, 60.0, 4 / 3)
    middle = probe_depth(scene, view)[6:8, 6:8]
    np.testing.assert_allclose(middle, 5.0, rtol=1e-6)
    scene.items.append(box_item((1, 1, 2), (2.0, 3.5, 0.0), Material()))
    np.testing.assert_allclose(probe_depth(scene, view)[6:8, 6:8], 2.0, rtol=1e-6)


def test_blocked_and_flat_views_are_not_plausible():
    rng = np.random.default_rng(0)
    assert plausible(rng.uniform(1, 5, (14, 14)), 0.5)
    assert not plausible(np.full((14, 14), 2.0), 0.5)
    blocked = rng.uniform(1, 5, (14, 14))
    blocked[:4] = 0.3
    assert not plausible(blocked, 0.5)
    assert plausible(blocked, 0.2)


def test_cameras_stand_at_any_height_and_some_look_at_things_close_up():
    table = box_item((1.2, 0.8, 0.75), (2.5, 3.0, 0.0), Material())
    cup = box_item((0.1, 0.1, 0.1), (2.4, 3.1, 0.75), Material())
    scene, rng = Scene(np.array([5.0, 6.0, 2.6]), [table, cup]), np.random.default_rng(0)
    views = [sample_view(scene, rng) for _ in range(400)]
    heights = np.array([view.position_m[2] for view in views if view.nearest_m == 0.5])
    low, middle = (heights < 0.6).mean(), ((heights > 0.6) & (heights < 1.2)).mean()
    assert low > 0.04 and middle > 0.2 and heights.max() < 1.8
    assert 0.03 < np.mean([view.nearest_m < 0.5 for view in views]) < 0.1


def test_matrix_agrees_with_the_axes():
    view = look((1.0, 2.0, 1.5), 0.7, -0.2, 0.1, 70.0, 4 / 3)
    u, v, depth_m = 0.3, -0.4, 2.5  # in [-1, 1], right and down
    ray = np.array([u * view.tan_half_x, v * view.tan_half_y, 1.0]) @ view.axes
    clip = view.view_projection() @ np.array([*(view.position_m + depth_m * ray), 1.0])
    np.testing.assert_allclose(clip[:2] / clip[3], (u, -v), atol=1e-9)
    assert clip[3] == pytest.approx(depth_m)


def test_depth_with_holes_is_measured_and_depth_without_is_exact():
    depth_m = np.full((96, 96), 2.0, np.float32)
    rgb = np.zeros((96, 96, 3), np.uint8)
    assert training_frame(Truth(rgb, depth_m, 100.0)).exact
    depth_m[40, 40] = np.nan
    frame = training_frame(Truth(rgb, depth_m, 100.0))
    assert not frame.exact
    assert not augment(frame, np.random.default_rng(0)).exact
    assert collate([frame], MINIATURE, 32).exact.tolist() == [False]
