"""Parameters: one declaration, and everything that derives from it agrees."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from depth_pro_ros.ros.parameters import NodeParameters, ParameterError, misspelt, specs

ROOT = Path(__file__).parents[1]
NAMES = {
    *('weights', 'device', 'precision', 'image_transport', 'intrinsics', 'focal_px'),
    *('depth_encoding', 'min_depth', 'max_depth', 'cloud_stride', 'max_rate_hz', 'warn_age_s'),
}


def test_the_names_that_users_type_are_all_there():
    assert set(specs()) >= NAMES
    dynamic = {name for name, (_, spec) in specs().items() if spec.dynamic}
    assert {'min_depth', 'max_depth', 'cloud_stride', 'max_rate_hz'} <= dynamic
    assert all(spec.description for _, spec in specs().values())


def test_the_parameter_file_has_every_default_and_no_more():
    yaml = pytest.importorskip('yaml')
    text = (ROOT / 'config' / 'depth_pro.yaml').read_text()
    values = yaml.safe_load(text)['/**']['ros__parameters']
    assert values == {name: default for name, (default, _) in specs().items()}
    for name in values:
        assert re.search(rf'# .*\n    {name}:', text), f'{name} has no comment'


def test_the_readme_has_every_default():
    rows = re.findall(r'^\| `(\w+)` \| `([^`]*)` \|', (ROOT / 'README.md').read_text(), re.M)
    assert {name: value for name, value in rows if name in specs()} == {
        name: str(default) for name, (default, _) in specs().items()
    }


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'precision': 'fp8'}, "precision 'fp8' is not one of: auto, fp32, fp16, bf16"),
        ({'cloud_stride': 65}, 'cloud_stride 65 is outside of 1 to 64'),
        ({'cloud_stride': True}, 'must be of type int'),
        ({'min_depth': -0.1}, 'min_depth -0.1 is outside of 0 to 10000'),
        ({'max_depth': float('inf')}, 'max_depth inf is not finite'),
        ({'max_depth': '5'}, 'max_depth must be of type float'),
        ({'min_depth': 5.0, 'max_depth': 5.0}, 'min_depth 5 is not less than max_depth 5'),
        ({'intrinsics': 'fixed'}, 'intrinsics: fixed needs a positive focal_px'),
        ({'rectify': True, 'intrinsics': 'fov'}, 'rectify needs camera_info'),
        ({'scan_pose': ['0.1', '0.2']}, 'scan_pose must be a list of type float'),
        ({'scan_pose': [0.1, float('nan')]}, 'is not finite'),
        ({'scale_anchor': 'scan'}, 'needs the six numbers of scan_pose'),
        ({'scale_anchor': 'scan', 'scan_pose': [0.1, 0.2]}, 'needs the six numbers'),
        (
            {'scale_anchor': 'scan', 'scan_pose': [0, 1, 0, 0, 0, 0], 'cameras': ['a', 'b']},
            'for a single camera',
        ),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(values, message):
    with pytest.raises(ParameterError, match=message):
        NodeParameters().updated(values)


def test_a_value_that_does_nothing_alone_is_told_of():
    values = {'focal_px': 615.0, 'camera_height_m': 0.3, 'scan_pose': [0.1] * 6}
    told = NodeParameters().updated(values).unused()
    assert [sentence.split()[0] for sentence in told] == list(values)
    assert not NodeParameters().unused()
    assert not NodeParameters().updated({'focal_px': 615.0, 'intrinsics': 'fixed'}).unused()


def test_a_whole_number_is_taken_for_a_float():
    assert NodeParameters().updated({'max_depth': 20}).max_depth == 20.0
    assert isinstance(NodeParameters().updated({'max_depth': 20}).max_depth, float)


def test_defaults_are_allowed_values():
    defaults = dataclasses.asdict(NodeParameters())
    assert dataclasses.asdict(NodeParameters().updated(defaults)) == defaults


def test_names_that_are_nearly_a_parameter_are_told():
    given = ['max_dept', 'max_depth', 'use_sim_time', 'robot_radius', 'qos_overrides./image.depth']
    assert misspelt(given) == ["there is no parameter 'max_dept': is max_depth meant?"]
