"""Calibration files: what drivers need, and only where they belong."""

from __future__ import annotations

import pytest

from depth_pro_ros.calibration_file import save_calibration
from depth_pro_ros.camera import Intrinsics

CAMERA = Intrinsics(640, 480, 525.125, 525.125, 319.5, 239.5)


def test_the_file_is_yaml_with_every_number(tmp_path):
    yaml = pytest.importorskip('yaml', reason='no PyYAML')
    path = save_calibration(tmp_path / 'a', 'front', CAMERA)
    found = yaml.safe_load(path.read_text())
    assert found['camera_matrix']['data'] == [525.125, 0, 319.5, 0, 525.125, 239.5, 0, 0, 1]
    assert found['projection_matrix']['data'][:4] == [525.125, 0, 319.5, 0]
    assert all(isinstance(value, float) for value in found['projection_matrix']['data'])
    assert save_calibration(tmp_path / 'a', 'front', CAMERA) == path  # again, over it
    assert [each.name for each in (tmp_path / 'a').iterdir()] == ['front.yaml']


@pytest.mark.parametrize('name', ['../escape', 'a/b', '/tmp/x', '..'])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path, name):
    if name == '..':
        assert save_calibration(tmp_path, name, CAMERA).parent == tmp_path
    else:
        with pytest.raises(ValueError, match='is not a file of'):
            save_calibration(tmp_path, name, CAMERA)
    assert not list(tmp_path.parent.glob('*.yaml'))


def test_a_link_is_not_followed(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('mine')
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'front.yaml').symlink_to(victim)
    with pytest.raises(ValueError, match='is not a file of'):
        save_calibration(folder, 'front', CAMERA)
    assert victim.read_text() == 'mine'
