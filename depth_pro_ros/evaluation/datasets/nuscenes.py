"""nuScenes: v1.0-*/ (JSON tables), samples/CAM_FRONT and samples/LIDAR_TOP.

Every key frame of the front camera, with the LiDAR points of the same key frame projected into it
(the nearest of a pixel), from 1 m on, as the publisher's own kit does, to 80 m (paper, table 18).
Where several versions lie beside each other, the folder of one of them is the data set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depth_pro_ros.evaluation.frame import DataError, Frame, Truth
from depth_pro_ros.images import read_picture

CAMERA, LIDAR = 'CAM_FRONT', 'LIDAR_TOP'
MIN_DEPTH_M = 1.0
"""What is nearer is the car itself."""

Row = dict[str, Any]
Placement = tuple[Row, Row]
"""Where on the car a sensor is, and where the car was at that time."""
Points = NDArray[np.float64]


def find(root: Path) -> Sequence[Frame]:
    """Give the key frames of the version that is there, or that `root` is."""
    own = root / 'sample_data.json'
    found = [own] if own.is_file() else sorted(root.glob('v1.0-*/sample_data.json'))
    if not found:
        return []
    if len(found) > 1:
        names = ', '.join(path.parent.name for path in found)
        raise DataError(f'{root} has several versions, {names}: give the folder of one of them')
    version = found[0].absolute().parent
    tables = Tables(version)
    return [
        Frame(
            Path(camera['filename']).stem, 'nuscenes', tables.reader(version.parent, camera, lidar)
        )
        for camera, lidar in tables.key_frames()
    ]


class Tables:
    """The tables that place sensors in the world; rows are found by their token."""

    def __init__(self, folder: Path) -> None:
        self._rows: list[Row] = json.loads((folder / 'sample_data.json').read_text())
        self._poses = self._by_token(folder / 'ego_pose.json')
        self._mounts = self._by_token(folder / 'calibrated_sensor.json')
        self._sensors = self._by_token(folder / 'sensor.json')

    @staticmethod
    def _by_token(path: Path) -> dict[str, Row]:
        return {row['token']: row for row in json.loads(path.read_text())}

    def key_frames(self) -> list[tuple[Row, Row]]:
        """Give the pictures and LiDAR sweeps that belong together, in the order of time."""
        found: dict[str, dict[str, Row]] = {CAMERA: {}, LIDAR: {}}
        for row in self._rows:
            mount = self._mounts[row['calibrated_sensor_token']]
            channel = self._sensors[mount['sensor_token']]['channel']
            if row['is_key_frame'] and channel in found:
                found[channel][row['sample_token']] = row
        pairs = [(row, found[LIDAR][token]) for token, row in found[CAMERA].items()]
        return sorted(pairs, key=lambda pair: pair[0]['timestamp'])

    def placement(self, row: Row) -> Placement:
        """Give where the sensor of a row was."""
        return self._mounts[row['calibrated_sensor_token']], self._poses[row['ego_pose_token']]

    def reader(self, root: Path, camera: Row, lidar: Row) -> Callable[[], Truth]:
        """Give what reads a frame; it keeps none of these tables, which take gigabytes."""
        image, sweep = root / camera['filename'], root / lidar['filename']
        return partial(_read, image, sweep, self.placement(camera), self.placement(lidar))


def _read(image: Path, sweep: Path, camera: Placement, lidar: Placement) -> Truth:
    rgb = read_picture(image)
    numbers = np.fromfile(sweep, '<f4')
    if numbers.size % 5:
        raise DataError(f'{sweep}: not whole points of 5 numbers')
    points = numbers.reshape(-1, 5)[:, :3].astype(np.float64)
    for placed_in in lidar:
        points = out_of(placed_in, points)
    for placed_in in reversed(camera):
        points = into(placed_in, points)
    matrix = np.array(camera[0]['camera_intrinsic'])
    return Truth(rgb, project(points, matrix, *rgb.shape[:2]), float(matrix[0, 0]))


def rotation(frame: Row) -> Points:
    """Give the 3x3 rotation of a quaternion w, x, y, z."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = frame['rotation']
    return np.asarray(Rotation.from_quat([x, y, z, w]).as_matrix())


def out_of(frame: Row, points: Points) -> Points:
    """Take points (N, 3) from a frame to the one that it is placed in."""
    return points @ rotation(frame).T + frame['translation']


def into(frame: Row, points: Points) -> Points:
    """Take points (N, 3) into a frame from the one that it is placed in."""
    return (points - frame['translation']) @ rotation(frame)


def project(points: Points, matrix: Points, height: int, width: int) -> NDArray[np.float32]:
    """Give the depth (H, W) of points (N, 3) in a camera's frame: the nearest, NaN without any."""
    points = points[points[:, 2] > MIN_DEPTH_M]
    pixels = points @ matrix.T
    u, v = (np.rint(pixels[:, i] / pixels[:, 2]).astype(int) for i in (0, 1))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    depth_m = np.full((height, width), np.inf, np.float32)
    np.minimum.at(depth_m, (v[inside], u[inside]), points[inside, 2].astype(np.float32))
    return np.where(np.isfinite(depth_m), depth_m, np.float32(np.nan))
