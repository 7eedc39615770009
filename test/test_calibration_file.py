"""Calibration files: what drivers need, and only where they belong."""

from __future__ import annotations

from pathlib import Path

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


def test_a_calibration_of_somebody_else_is_kept(tmp_path):
    path = tmp_path / 'front.yaml'
    path.write_text('camera_name: front\n')
    with pytest.raises(ValueError, match='did not write'):
        save_calibration(tmp_path, 'front', CAMERA)
    assert path.read_text() == 'camera_name: front\n'
    assert list(tmp_path.iterdir()) == [path]


def test_no_link_beside_the_file_is_followed(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('mine')
    folder = tmp_path / 'folder'
    folder.mkdir()
    for name in ('.front.yaml.part.yaml', '.front.yaml.part', 'front.yaml.part'):
        (folder / name).symlink_to(victim)
    path = save_calibration(folder, 'front', CAMERA)
    assert victim.read_text() == 'mine' and path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr('os.replace', refuse)
    with pytest.raises(ValueError, match='cannot write .*front.yaml: Input/output error'):
        save_calibration(tmp_path, 'front', CAMERA)
    assert not list(tmp_path.iterdir())


def test_a_home_that_is_not_there_is_said():
    with pytest.raises(ValueError, match='cannot find ~nobody_of_this_name'):
        save_calibration(Path('~nobody_of_this_name/calibrations'), 'front', CAMERA)
