"""The three file layouts, strictly."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import TINY, TINY_SHARED, lively_network
from safetensors.torch import load_file, save_file

from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import (
    TRANSFORMERS_VITS,
    CheckpointError,
    load_network,
    read_config,
    read_record,
    save_network,
    to_transformers,
    transformers_name,
)

FACTS = Path(__file__).parents[2] / 'shared' / 'facts'


@pytest.fixture(scope='module')
def network() -> DepthPro:
    return lively_network(TINY)


def write(folder: Path, layout: str, tensors: dict[str, torch.Tensor]) -> Path:
    """Write tensors with our names in one of the three layouts."""
    if layout == 'official':
        path = folder / 'depth_pro.pt'
        torch.save(tensors, path)
    elif layout == 'transformers':
        path = folder / 'model.safetensors'
        save_file(to_transformers(tensors), path, {'format': 'pt'})
    else:
        path = folder / 'own.safetensors'
        source = folder / 'source.safetensors'
        save_network(source, lively_network(TINY), {})
        from safetensors import safe_open

        with safe_open(source, 'pt') as file:
            metadata = file.metadata()
        save_file({n: v.contiguous() for n, v in tensors.items()}, path, metadata)
    return path


LAYOUTS = ['official', 'transformers', 'own']


@pytest.mark.parametrize('layout', LAYOUTS)
def test_each_layout_gives_the_same_network(tmp_path, network, layout):
    path = write(tmp_path, layout, network.state_dict())
    loaded = load_network(path, None if layout == 'own' else TINY)
    assert loaded.config == TINY and not loaded.training
    assert read_config(path) == (TINY if layout == 'own' else DepthProConfig.large())
    expected = network.state_dict()
    assert set(loaded.state_dict()) == set(expected)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('fault', ['missing', 'extra', 'misshapen'])
def test_a_tampered_file_is_refused_with_the_name_of_the_tensor(tmp_path, network, layout, fault):
    tensors = dict(network.state_dict())
    name = 'encoder.patch_encoder.blocks.2.attn.proj.weight'
    if fault == 'missing':
        del tensors[name]
        expected = f'missing: {name}'
    elif fault == 'extra':
        name = 'head.9.weight'
        tensors[name] = torch.zeros(3)
        expected = 'not part of the network: head(.layers)?.9.weight'
    else:
        tensors[name] = torch.zeros(32, 31)
        expected = rf'{name} has shape \(32, 31\), expected \(32, 32\)'
    if layout == 'transformers':  # errors name the tensors of the file
        expected = expected.replace(name, transformers_name(name))
    path = write(tmp_path, layout, tensors)
    with pytest.raises(CheckpointError, match=expected):
        load_network(path, None if layout == 'own' else TINY)


QUERY = 'depth_pro.encoder.patch_encoder.model.encoder.layer.0.attention.attention.query.weight'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({QUERY: torch.zeros(40, 32), QUERY.replace('query', 'key'): torch.zeros(24, 32)}, 'shape'),
        ({QUERY: torch.zeros(32, 31)}, 'has shape'),
        ({'head.0.weight': torch.zeros(3)}, 'not part of the network: head.0.weight'),
        ({'my.mask_token': torch.zeros(3)}, 'not part of the network: my.mask_token'),
    ],
    ids=['rows moved', 'query', 'our name', 'mask'],
)
def test_a_tampered_transformers_file_is_refused(tmp_path, network, change, message):
    path = tmp_path / 'model.safetensors'
    save_file(to_transformers(network.state_dict()) | change, path)
    with pytest.raises(CheckpointError, match=message):
        load_network(path, TINY)


def test_the_mask_tokens_of_dinov2_are_left_out(tmp_path, network):
    path = tmp_path / 'model.safetensors'
    masks = {f'{vit}.embeddings.mask_token': torch.zeros(1, 32) for vit in TRANSFORMERS_VITS}
    save_file(to_transformers(network.state_dict()) | masks, path)
    assert load_network(path, TINY).config == TINY


@pytest.mark.parametrize(
    'change',
    [
        {'neck_dims': [16] * 4},
        {'vit_heads': 3},
        {'decoder_dim': 'wide'},
        {'colour': 1},
        {'patch_size': 0},
        [],
    ],
)
def test_a_bad_configuration_in_a_file_is_refused(tmp_path, change):
    config = dataclasses.asdict(TINY) | change if change else []
    path = tmp_path / 'own.safetensors'
    metadata = {'format': 'depth_pro_ros', 'config': json.dumps(config)}
    save_file({'a': torch.zeros(1)}, path, metadata)
    for read in (load_network, read_config):
        with pytest.raises(CheckpointError, match='cannot read'):
            read(path)


def test_official_names_and_shapes_load_strictly_into_large(tmp_path):
    facts = FACTS / 'state_dict_official.tsv'
    if not facts.exists():
        pytest.skip('the list of official tensors is not on this machine')
    rows = [line.split('\t') for line in facts.read_text().splitlines()[1:]]
    tensors = {
        name: torch.zeros(1).expand([int(n) for n in shape.strip('()').split(',') if n])
        for name, shape, _ in rows
    }
    path = tmp_path / 'depth_pro.pt'
    torch.save(tensors, path)  # expanded zeros: 4 bytes each on disk
    assert len(load_network(path).state_dict()) == 1119
    name = rows[500][0]
    torch.save({n: v for n, v in tensors.items() if n != name}, path)
    with pytest.raises(CheckpointError, match=f'missing: {name}'):
        load_network(path)


def test_official_names_of_transformers_are_all_known():
    facts = FACTS / 'key_map_official_to_hf.tsv'
    if not facts.exists():
        pytest.skip('the list of transformers names is not on this machine')
    expected = {line.split('\t')[1] for line in facts.read_text().splitlines()[1:]}
    with torch.device('meta'):
        large = DepthPro(DepthProConfig.large())
    assert set(to_transformers(large.state_dict())) == expected


def test_own_files_are_half_precision_and_keep_their_record(tmp_path):
    path = tmp_path / 'own.safetensors'
    save_network(path, lively_network(TINY_SHARED), {'steps': 7, 'data': 'rooms'})
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    assert read_record(path) == {'steps': 7, 'data': 'rooms'}
    assert load_network(path).config == TINY_SHARED


def test_a_full_disk_does_not_cost_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / 'own.safetensors'
    path.write_text('before')

    def fill(tensors, path, metadata):
        path.write_text('half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('safetensors.torch.save_file', fill)
    with pytest.raises(OSError, match='No space left'):
        save_network(path, lively_network(TINY_SHARED), {})
    assert path.read_text() == 'before'


class Evil:
    """A pickle that would run code."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize(
    'content', ['evil', 'list', 'bytes', 'noise', 'text', 'empty', 'cut', 'missing', 'folder']
)
@pytest.mark.parametrize('suffix', ['.pt', '.safetensors'])
def test_what_is_no_checkpoint_is_refused(tmp_path, network, content, suffix):
    path = tmp_path / f'weights{suffix}'
    if content == 'evil':
        path.write_bytes(pickle.dumps({'weight': Evil(tmp_path / 'was here')}))
    elif content == 'list':
        torch.save([torch.zeros(3)], path)
    elif content == 'bytes':
        tensors = {name: value.byte() for name, value in network.state_dict().items()}
        write(tmp_path, 'official' if suffix == '.pt' else 'own', tensors).replace(path)
    elif content == 'noise':
        path.write_bytes(np.random.default_rng(0).bytes(1000))
    elif content == 'text':
        path.write_text('error: not found')
    elif content == 'empty':
        path.write_bytes(b'')
    elif content == 'cut':
        whole = write(tmp_path, 'official' if suffix == '.pt' else 'own', {'a': torch.zeros(99)})
        path.write_bytes(whole.read_bytes()[:-50])
    elif content == 'folder':
        path.mkdir()
    with pytest.raises(CheckpointError, match=path.name) as error:
        load_network(path)
    assert '\n' not in str(error.value) and 'weights_only' not in str(error.value)
    assert not (tmp_path / 'was here').exists()


def test_an_unknown_configuration_entry_is_named():
    with pytest.raises(ValueError, match='unknown configuration entries: colour'):
        DepthProConfig.from_dict({'colour': 3})
