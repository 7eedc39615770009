"""Data sets in the layouts of their publishers: tiny files of the real formats, written here."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_pro_ros.evaluation import formats
from depth_pro_ros.evaluation.datasets import LOADERS, find_frames
from depth_pro_ros.evaluation.datasets.eth3d import read_cameras
from depth_pro_ros.evaluation.frame import DataError
from depth_pro_ros.images import ImageError

H, W = 12, 16
HOLE = np.s_[3, 4:6]
"""Where depth is unknown."""


def picture(path: Path, height: int = H, width: int = W) -> None:
    """Write a picture whose top left pixel is red."""
    rgb = np.full((height, width, 3), 60, np.uint8)
    rgb[0, 0] = (250, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    encoded.tofile(path)  # whatever the ending


def png16(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values.astype(np.uint16))


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def ramp(height: int = H, width: int = W) -> np.ndarray:
    """Give depth that is different everywhere, so that a flip or a transpose shows: 2 to 9.6 m."""
    return 2 + 0.04 * np.arange(height * width, dtype=np.float64).reshape(height, width)


def nyu(root: Path) -> None:
    import h5py
    from scipy.io import savemat

    with h5py.File(root / 'nyu_depth_v2_labeled.mat', 'w') as file:  # MATLAB 7.3 is HDF5
        images = np.full((3, 3, 640, 480), 60, np.uint8)  # (N, C, W, H): columns first
        images[:, 0, 7, 7] = 250
        images[:, 1:, 7, 7] = 0
        file['images'] = images
        depths = np.full((3, 640, 480), 4.0, np.float32)
        depths[1] = ramp(480, 640).T / 2000
        depths[1, 100, 50] = 0
        file['rawDepths'] = depths
        file['depths'] = np.full_like(depths, 3.0)  # what the publisher filled in
    savemat(root / 'splits.mat', {'testNdxs': [[2], [4]], 'trainNdxs': [[1], [3]]})


def kitti(root: Path) -> None:
    folder = root / 'val_selection_cropped'
    name = '2011_09_26_drive_0002_sync_{}_0000000005_image_02'
    picture(folder / 'image' / f'{name.format("image")}.png')
    depth = np.rint(ramp() * 256)
    depth[HOLE] = 0
    png16(folder / 'groundtruth_depth' / f'{name.format("groundtruth_depth")}.png', depth)
    numbers = '7.215377e+02 0 6.095593e+02 0 7.215377e+02 1.728540e+02 0 0 1'
    text(folder / 'intrinsics' / f'{name.format("image")}.txt', numbers)


def eth3d(root: Path) -> None:
    scene = root / 'courtyard'
    picture(scene / 'images/dslr_images/DSC_0286.JPG')
    depth = ramp().astype('<f4')
    depth[HOLE] = np.inf
    (scene / 'ground_truth_depth/dslr_images').mkdir(parents=True)
    depth.tofile(scene / 'ground_truth_depth/dslr_images/DSC_0286.JPG')
    calibration = scene / 'dslr_calibration_jpg'
    text(
        calibration / 'cameras.txt',
        '# Camera list\n'
        f'0 THIN_PRISM_FISHEYE {W} {H} 3430.27 3429.23 8 6 0 0 0 0 0 0 0 0\n'
        f'1 THIN_PRISM_FISHEYE {W} {H} 721.5377 3429.23 8 6 0 0 0 0 0 0 0 0\n',
    )
    text(
        calibration / 'images.txt',
        '# Image list\n'
        '9 0.7 0.1 0.2 0.3 1 2 3 1 dslr_images/DSC_0286.JPG\n'
        '1.5 2.5 -1 3.5 4.5 17\n'
        '10 0.7 0.1 0.2 0.3 1 2 3 0 dslr_images/DSC_0287.JPG\n'
        '\n',
    )


def pfm(path: Path, values: np.ndarray) -> None:
    """Write a little-endian PFM: bottom row first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = f'Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n'.encode()
    path.write_bytes(header + values[::-1].astype('<f4').tobytes())


def middlebury(root: Path) -> None:
    disparity = 721.5377 * 0.2 / ramp() - 5.0  # doffs: cx1 - cx0
    disparity[HOLE] = np.inf
    for scene, name in (('Adirondack-perfect', 'disp0.pfm'), ('Vintage', 'disp0GT.pfm')):
        picture(root / scene / 'im0.png')
        pfm(root / scene / name, disparity)
        text(
            root / scene / 'calib.txt',
            'cam0=[721.5377 0 8; 0 721.5377 6; 0 0 1]\ncam1=[721.5377 0 13; 0 721.5377 6; 0 0 1]\n'
            f'doffs=5\nbaseline=200\nwidth={W}\nheight={H}\nndisp=290\nisint=0\n',
        )


def booster(root: Path) -> None:
    scene = root / 'train/balanced/Bathroom'
    picture(scene / 'camera_00/im0.png')
    picture(scene / 'camera_02/im0.png', 2 * H, 2 * W)
    disparity = (721.5377 * 0.08 / ramp()).astype(np.float32)
    disparity[HOLE] = 0
    np.save(scene / 'disp_00.npy', disparity)
    storage = cv2.FileStorage(str(scene / 'calib_00-02.xml'), cv2.FILE_STORAGE_WRITE)
    matrix = np.array([[721.5377, 0, 8, 0], [0, 721.5377, 6, 0], [0, 0, 1, 0]])
    storage.write('proj_matL', matrix)
    storage.write('baselineLR', 80.0)
    storage.release()


def sintel(root: Path) -> None:
    training = root / 'training'
    picture(training / 'final/alley_1/frame_0001.png')
    depth = ramp().astype('<f4')
    depth[HOLE] = -1
    tag = struct.pack('<f', 202021.25)
    path = training / 'depth/alley_1/frame_0001.dpt'
    path.parent.mkdir(parents=True)
    path.write_bytes(tag + struct.pack('<ii', W, H) + depth.tobytes())
    path = training / 'camdata_left/alley_1/frame_0001.cam'
    path.parent.mkdir(parents=True)
    path.write_bytes(tag + struct.pack('<21d', 721.5377, 0, 8, *([0] * 18)))


def sunrgbd(root: Path) -> None:
    for name in ('SUNRGBD/kv1/NYUdata/NYU0001', 'SUNRGBD/xtion/xtion_align/office_7'):
        sample = root / name
        picture(sample / 'image/view.jpg')
        millimetres = np.rint(ramp() * 1000).astype(np.uint16)
        millimetres[HOLE] = 0
        png16(sample / 'depth/view.png', (millimetres << 3) | (millimetres >> 13))
        text(sample / 'intrinsics.txt', '721.5377 0.0 8\n0.0 721.5377 6\n0.0 0.0 1.0\n')
        text(sample / 'fullres/intrinsics.txt', '1443.0754 0 16 0 1443.0754 12 0 0 1')


def ibims(root: Path) -> None:
    from scipy.io import savemat

    rgb = np.full((H, W, 3), 60, np.uint8)
    rgb[0, 0] = (250, 0, 0)
    invalid, glass = np.ones((H, W)), np.ones((H, W))
    invalid[HOLE][0] = glass[HOLE][1] = 0
    matrix = np.array([[721.5377, 0, 8], [0, 721.5377, 6], [0, 0, 1]])
    data = {
        'rgb': rgb,
        'depth': ramp(),
        'mask_invalid': invalid,
        'mask_transp': glass,
        'calib': matrix.T,
    }
    (root / 'ibims1_core_mat').mkdir()
    savemat(root / 'ibims1_core_mat/livingroom_01.mat', {'data': data})


def nuscenes(root: Path) -> None:
    """Write a car at (100, 200), turned left by 90 degrees, with its camera looking ahead."""
    half = 0.5**0.5
    ahead = [0.5, -0.5, 0.5, -0.5]  # camera: x right, y down, z ahead; car: x ahead, y left, z up
    matrix = [[10.0, 0, 8.8], [0, 10.0, 6.8], [0, 0, 1]]
    tables = {
        'sensor': [
            {'token': 's1', 'channel': 'CAM_FRONT'},
            {'token': 's2', 'channel': 'LIDAR_TOP'},
            {'token': 's3', 'channel': 'CAM_BACK'},
        ],
        'calibrated_sensor': [
            {
                'token': 'm1',
                'sensor_token': 's1',
                'translation': [1.0, 0, 1.5],
                'rotation': ahead,
                'camera_intrinsic': matrix,
            },
            {
                'token': 'm2',
                'sensor_token': 's2',
                'translation': [0.0, 0, 2],
                'rotation': [half, 0, 0, -half],  # turned right by 90 degrees
                'camera_intrinsic': [],
            },
            {
                'token': 'm3',
                'sensor_token': 's3',
                'translation': [0.0, 0, 0],
                'rotation': ahead,
                'camera_intrinsic': matrix,
            },
        ],
        'ego_pose': [
            {'token': 'p1', 'translation': [100.0, 200, 0], 'rotation': [half, 0, 0, half]},
            # the car has moved on by half a metre (it drives along y) when the camera fires
            {'token': 'p2', 'translation': [100.0, 200.5, 0], 'rotation': [half, 0, 0, half]},
        ],
        'sample_data': [
            row('d1', 'm1', 'p2', 'samples/CAM_FRONT/front.jpg'),
            row('d2', 'm2', 'p1', 'samples/LIDAR_TOP/top.pcd.bin'),
            row('d3', 'm1', 'p2', 'sweeps/CAM_FRONT/between.jpg', is_key_frame=False),
            row('d4', 'm3', 'p2', 'samples/CAM_BACK/back.jpg'),
        ],
    }
    for name, rows in tables.items():
        text(root / f'v1.0-mini/{name}.json', json.dumps(rows))
    picture(root / 'samples/CAM_FRONT/front.jpg')
    # in the LiDAR's frame (x: the car's right, y: ahead): 11.5 m ahead, 2 m right, 0.5 m down ...
    points = [[2.0, 11.5, -0.5, 0, 0], [2.1, 13.5, -0.5, 0, 0]]
    points += [[-2.4, 13.5, -0.5, 0, 0], [0, -9.0, 0, 0, 0]]  # ... one left, one behind,
    points += [[0, 2.3, -0.5, 0, 0]]  # and one 0.8 m before the camera, of the car itself
    (root / 'samples/LIDAR_TOP').mkdir(parents=True)
    np.array(points, '<f4').tofile(root / 'samples/LIDAR_TOP/top.pcd.bin')


def rooms(root: Path) -> None:
    picture(root / '000000.jpg')
    depth = ramp()
    depth[HOLE] = np.inf
    fov_deg = float(np.degrees(2 * np.arctan(W / 2 / 721.5377)))
    np.savez_compressed(root / '000000.npz', depth_m=depth.astype(np.float16), fov_deg=fov_deg)
    frame = {'name': '000000', 'fov_deg': round(fov_deg, 4)}
    text(root / 'frames.json', json.dumps({'seed': 0, 'frames': [frame]}))


def row(token, mount, pose, filename, is_key_frame=True):
    return {
        'token': token,
        'sample_token': 'a',
        'calibrated_sensor_token': mount,
        'ego_pose_token': pose,
        'filename': filename,
        'is_key_frame': is_key_frame,
        'timestamp': 1,
    }


MAKERS = {
    'rooms': rooms,
    'nyu': nyu,
    'kitti': kitti,
    'eth3d': eth3d,
    'middlebury': middlebury,
    'booster': booster,
    'sintel': sintel,
    'sunrgbd': sunrgbd,
    'ibims': ibims,
    'nuscenes': nuscenes,
}

LIMITS_M = {
    'rooms': (0.001, 80),
    'kitti': (0.001, 80),
    'eth3d': (0.1, 200),
    'middlebury': (0.001, 10),
    'booster': (0.001, 10),
    'sintel': (0.01, 80),
    'sunrgbd': (0.001, 10),
    'ibims': (0.1, 10),
}
"""Paper, table 18; KITTI and rooms as everybody does."""


def test_every_loader_but_the_folder_of_ones_own_is_tested_here():
    assert {*MAKERS, 'frames'} == set(LOADERS)


@pytest.mark.parametrize('name', LIMITS_M)
def test_a_data_set_of_pictures_with_dense_depth(tmp_path, name):
    MAKERS[name](tmp_path)
    frames = find_frames(tmp_path)
    assert len(frames) == (2 if name in ('middlebury', 'sunrgbd') else 1)
    expected = ramp()
    expected[HOLE] = np.nan
    for frame in frames:
        assert frame.source == name
        assert (frame.min_depth_m, frame.max_depth_m) == LIMITS_M[name]
        truth = frame.read()
        assert truth.rgb.shape == (H, W, 3) and truth.rgb.dtype == np.uint8
        assert tuple(truth.rgb[0, 0]) == (250, 0, 0)
        assert truth.focal_px == pytest.approx(721.5377)
        assert truth.depth_m.dtype == np.float32
        np.testing.assert_allclose(truth.depth_m, expected, atol=0.005)  # half floats at 9 m


def test_each_picture_of_eth3d_has_its_camera(tmp_path):
    eth3d(tmp_path)
    cameras = read_cameras(tmp_path / 'courtyard/dslr_calibration_jpg')
    assert cameras['dslr_images/DSC_0286.JPG'] == (W, H, 721.5377)
    assert cameras['dslr_images/DSC_0287.JPG'] == (W, H, 3430.27)


def test_nyu_takes_the_test_frames_without_border_within_the_crop(tmp_path):
    nyu(tmp_path)
    frame, missing = find_frames(tmp_path)
    with pytest.raises(DataError, match='nyu_depth_v2_labeled.mat has no whole frame 4'):
        missing.read()
    assert frame.name == '00002' and frame.max_depth_m == 10.0
    truth = frame.read()
    assert truth.rgb.shape == (467, 625, 3) and tuple(truth.rgb[0, 0]) == (250, 0, 0)
    known = np.isfinite(truth.depth_m)
    rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    assert (rows[0] + 7, rows[-1] + 8, columns[0] + 7, columns[-1] + 8) == (45, 471, 41, 601)
    assert not known[50 - 7, 100 - 7]
    assert truth.depth_m[60 - 7, 70 - 7] == pytest.approx(ramp(480, 640)[60, 70] / 2000)
    (tmp_path / 'splits.mat').unlink()
    with pytest.raises(DataError, match='splits.mat is missing'):
        find_frames(tmp_path)


@pytest.mark.parametrize(
    ('listed', 'camera', 'focal_px'), [(True, 'image_02', 721.5), (False, 'image_03', 707.0)]
)
def test_kitti_raw_data_with_annotated_depth(tmp_path, listed, camera, focal_px):
    drive = '2011_09_26_drive_0002_sync'
    image = f'2011_09_26/{drive}/{camera}/data/0000000069.png'
    depth = f'{drive}/proj_depth/groundtruth/{camera}/0000000069.png'
    picture(tmp_path / 'raw' / image, 375, 1242)
    png16(tmp_path / 'val' / depth, np.full((375, 1242), 256 * 7))
    text(
        tmp_path / 'raw/2011_09_26/calib_cam_to_cam.txt',
        'calib_time: 09-Jan-2012\nP_rect_02: 7.215e+02 0 6.095593e+02 4.485728e+01 0\n'
        'P_rect_03: 7.07e+02 0 6.095593e+02 4.485728e+01 0\n',
    )
    if listed:
        lines = f'{image} {depth} 721.5377\n2011_09_26/x.png None 721.5377\n'
        text(tmp_path / 'eigen_test_files_with_gt.txt', lines)
    [frame] = find_frames(tmp_path)
    truth = frame.read()
    assert truth.focal_px == focal_px
    known = truth.depth_m == 7.0
    assert known[153:371, 44:1197].all() and known.sum() == (371 - 153) * (1197 - 44)


def test_kitti_leaves_out_drives_without_raw_pictures(tmp_path):
    depth = 'val/2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000069.png'
    png16(tmp_path / depth, np.full((375, 1242), 256 * 7))
    with pytest.raises(DataError):
        find_frames(tmp_path)
    drive = '2011_09_26/2011_09_26_drive_0002_sync/image_02/data'
    (tmp_path / 'raw' / drive).mkdir(parents=True)  # there, but the picture is lost
    [frame] = find_frames(tmp_path)
    with pytest.raises(ImageError):
        frame.read()


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'crop': None, 'mask': None, 'fx': None}, None),
        ({'depth_units_per_metre': None}, 'frames.json'),
        ({'mask': 'mask.png'}, 'mask.png is of another size'),
        ({'mask': 5}, '0017 in frames.json: unsupported operand'),
        ({'crop': [0, H + 1, 0, W]}, 'is not top, bottom, left, right'),
        ({'crop': [5, 5, 0, W]}, 'is not top, bottom, left, right'),
        ({'crop': [0, H, -3, W]}, 'is not top, bottom, left, right'),
        ({'crop': [0, H, W]}, 'is not top, bottom, left, right'),
    ],
)
def test_optional_fields_of_ones_own_frames(tmp_path, more, message):
    picture(tmp_path / 'a.png')
    png16(tmp_path / 'a_depth.png', ramp() * 100)
    picture(tmp_path / 'mask.png', 2 * H, 2 * W)
    entry = {'name': '0017', 'image': 'a.png', 'depth': 'a_depth.png', 'depth_units_per_metre': 100}
    text(tmp_path / 'frames.json', json.dumps({'frames': [entry | more]}))
    [frame] = find_frames(tmp_path)
    assert frame.source == tmp_path.name
    if message is None:
        assert frame.read().focal_px is None
    else:
        with pytest.raises(DataError, match=message):
            frame.read()


def test_sun_rgbd_takes_the_test_split(tmp_path):
    from scipy.io import savemat

    sunrgbd(tmp_path)
    cell = np.empty((1, 1), object)
    cell[0, 0] = '/n/fs/sun3d/data/SUNRGBD/xtion/xtion_align/office_7'
    split = tmp_path / 'SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat'
    split.parent.mkdir(parents=True)
    savemat(split, {'alltest': cell})
    [frame] = find_frames(tmp_path)
    assert frame.name == 'xtion/xtion_align/office_7'
    assert np.nanmin(frame.read().depth_m) == pytest.approx(2.0)


def test_nuscenes_projects_the_points_of_the_key_frame(tmp_path):
    nuscenes(tmp_path)
    [frame] = find_frames(tmp_path)
    assert (frame.name, frame.source, frame.max_depth_m) == ('front', 'nuscenes', 80.0)
    truth = frame.read()
    assert truth.focal_px == 10.0
    # 10 m before the camera, which is 1 m before the LiDAR and has driven 0.5 m; 2 m right;
    # level with the camera: u = 10 * 2 / 10 + 8.8; the second point is hidden behind it
    assert truth.depth_m[7, 11] == pytest.approx(10.0)
    assert truth.depth_m[7, 7] == pytest.approx(12.0)  # u = -10 * 2.4 / 12 + 8.8
    assert np.isfinite(truth.depth_m).sum() == 2
    # trainval has millions of rows, and a frame must not keep those of the others
    assert b'CAM_FRONT/between.jpg' not in pickle.dumps(frame.read)


def test_one_of_several_versions_of_nuscenes_is_to_be_named(tmp_path):
    nuscenes(tmp_path)
    shutil.copytree(tmp_path / 'v1.0-mini', tmp_path / 'v1.0-trainval')
    with pytest.raises(DataError, match='several versions, v1.0-mini, v1.0-trainval'):
        find_frames(tmp_path)
    [frame] = find_frames(tmp_path / 'v1.0-trainval')
    assert frame.read().focal_px == 10.0


@pytest.mark.parametrize(
    ('name', 'path', 'message'),
    [
        ('kitti', 'val_selection_cropped/groundtruth_depth', 'not a 16-bit grey PNG'),
        ('eth3d', 'courtyard/ground_truth_depth/dslr_images', 'but the camera has 16x12'),
        ('middlebury', 'Adirondack-perfect/disp0.pfm', 'not a PFM'),
        ('middlebury', 'Adirondack-perfect/calib.txt', "KeyError\\('cam0'\\)"),
        ('sintel', 'training/depth', 'not a whole .dpt'),
        ('sintel', 'training/camdata_left', 'not a whole .cam'),
        ('nuscenes', 'samples/LIDAR_TOP', 'not whole points'),
        ('booster', 'train/balanced/Bathroom/calib_00-02.xml', 'calib_00-02.xml'),
        ('booster', 'train/balanced/Bathroom/disp_00.npy', 'disp_00.npy is no array'),
        ('nuscenes', 'v1.0-mini/ego_pose.json', 'read as nuscenes: JSONDecodeError'),
        ('nyu', 'nyu_depth_v2_labeled.mat', 'has no whole frame 2'),
        ('ibims', 'ibims1_core_mat', 'livingroom_01.mat has no data'),
        ('rooms', '000000.npz', 'no rendered frame'),
    ],
)
def test_a_damaged_file_is_said(tmp_path, name, path, message):
    MAKERS[name](tmp_path)
    path = tmp_path / path
    [damaged] = [p for p in path.rglob('*') if p.is_file()] if path.is_dir() else [path]
    damaged.write_bytes(b'PK\x03\x04' * 6)  # as a zip begins, which NumPy would open
    with pytest.raises(DataError, match=message):
        find_frames(tmp_path)[0].read()


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('kitti', 'val_selection_cropped/intrinsics'),
        ('sunrgbd', 'SUNRGBD/kv1/NYUdata/NYU0001/intrinsics.txt'),
        ('ibims', 'ibims1_core_mat'),
        ('nyu', 'splits.mat'),
    ],
)
def test_an_empty_file_is_said(tmp_path, name, path):
    MAKERS[name](tmp_path)
    path = tmp_path / path
    [emptied] = path.iterdir() if path.is_dir() else [path]
    emptied.write_bytes(b'')
    with pytest.raises(DataError, match=re.escape(str(emptied))):
        find_frames(tmp_path)[0].read()


@pytest.mark.parametrize(
    ('name', 'path', 'content', 'message'),
    [
        ('nyu', 'splits.mat', {'trainNdxs': [[1]]}, 'splits.mat has no testNdxs'),
        ('ibims', 'ibims1_core_mat/livingroom_01.mat', {'data': {'rgb': 1}}, 'no file of iBims-1'),
        ('ibims', 'ibims1_core_mat/livingroom_01.mat', {'data': 1.0}, 'no file of iBims-1'),
    ],
)
def test_a_matlab_file_of_something_else_is_said(tmp_path, name, path, content, message):
    from scipy.io import savemat

    MAKERS[name](tmp_path)
    savemat(tmp_path / path, content)
    with pytest.raises(DataError, match=message):
        find_frames(tmp_path)[0].read()


def test_a_pfm_of_the_other_byte_order(tmp_path):
    values = np.arange(6, dtype='>f4').reshape(2, 3)
    (tmp_path / 'a.pfm').write_bytes(b'Pf\n3 2\n1.0\n' + values[::-1].tobytes())
    np.testing.assert_array_equal(formats.read_pfm(tmp_path / 'a.pfm'), values)


def test_disparity_becomes_depth():
    disparity = np.array([[10.0, 0.0, np.inf, -1.0]], np.float32)
    depth = formats.depth_of_disparity(disparity, 500.0, 0.1, offset_px=15.0)
    np.testing.assert_allclose(depth, [[2.0, np.nan, np.nan, np.nan]])
