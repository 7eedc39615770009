"""Weights on disk: the three file layouts, read strictly."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.depth_pro import DepthPro

FORMAT = 'depth_pro_ros'
"""The value of the `format` entry in the metadata of our own files."""

READ_AT_ONCE = 100
"""Tensors."""

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""That tensors of a file may have; integers and 8-bit floats want scales, which no network here
takes."""
NO_TENSORS = 'holds no plain dictionary of tensors in 16, 32 or 64 bits'

OFFICIAL_TO_TRANSFORMERS = (
    (r'encoder\.(patch|image)_encoder\.', r'depth_pro.encoder.\1_encoder.model.'),
    (r'fov\.encoder\.0\.', r'fov_model.fov_encoder.model.'),
    (r'fov\.encoder\.1\.', r'fov_model.fov_encoder.neck.'),
    (r'fov\.downsample\.0\.', r'fov_model.conv.'),
    (r'fov\.head\.', r'fov_model.head.layers.'),
    (r'head\.', r'head.layers.'),
    (r'encoder\.upsample_latent0\.', r'depth_pro.neck.feature_upsample.intermediate.1.layers.'),
    (r'encoder\.upsample_latent1\.', r'depth_pro.neck.feature_upsample.intermediate.0.layers.'),
    (r'encoder\.upsample0\.', r'depth_pro.neck.feature_upsample.scaled_images.2.layers.'),
    (r'encoder\.upsample1\.', r'depth_pro.neck.feature_upsample.scaled_images.1.layers.'),
    (r'encoder\.upsample2\.', r'depth_pro.neck.feature_upsample.scaled_images.0.layers.'),
    (r'encoder\.upsample_lowres\.', r'depth_pro.neck.feature_upsample.image_block.layers.0.'),
    (r'encoder\.fuse_lowres\.', r'depth_pro.neck.fuse_image_with_low_res.'),
    (r'decoder\.convs\.1\.', r'depth_pro.neck.feature_projection.projections.3.'),
    (r'decoder\.convs\.2\.', r'depth_pro.neck.feature_projection.projections.2.'),
    (r'decoder\.convs\.3\.', r'depth_pro.neck.feature_projection.projections.1.'),
    (r'decoder\.convs\.4\.', r'depth_pro.neck.feature_projection.projections.0.'),
    (r'decoder\.fusions\.0\.', r'fusion_stage.final.'),
    (r'decoder\.fusions\.1\.', r'fusion_stage.intermediate.3.'),
    (r'decoder\.fusions\.2\.', r'fusion_stage.intermediate.2.'),
    (r'decoder\.fusions\.3\.', r'fusion_stage.intermediate.1.'),
    (r'decoder\.fusions\.4\.', r'fusion_stage.intermediate.0.'),
)
"""Beginnings of tensor names; the first that matches is replaced."""

TRANSFORMERS_VITS = (
    'depth_pro.encoder.patch_encoder.model',
    'depth_pro.encoder.image_encoder.model',
    'fov_model.fov_encoder.model',
)

INSIDE_MODULES = (
    (r'\.model\.cls_token$', r'.model.embeddings.cls_token'),
    (r'\.model\.pos_embed$', r'.model.embeddings.position_embeddings'),
    (r'\.model\.patch_embed\.proj\.', r'.model.embeddings.patch_embeddings.projection.'),
    (r'\.model\.blocks\.(\d+)\.', r'.model.encoder.layer.\1.'),
    (r'\.model\.norm\.', r'.model.layernorm.'),
    (r'\.attn\.qkv\.', r'.attention.attention.{}.'),
    (r'\.attn\.proj\.', r'.attention.output.dense.'),
    (r'\.ls([12])\.gamma$', r'.layer_scale\1.lambda1'),
    (r'\.resnet([12])\.residual\.1\.', r'.residual_layer\1.convolution1.'),
    (r'\.resnet([12])\.residual\.3\.', r'.residual_layer\1.convolution2.'),
    (r'\.out_conv\.', r'.projection.'),
)
"""Parts of tensor names; every one that matches is replaced."""


UNREADABLE = (
    safetensors.SafetensorError,
    RuntimeError,
    AssertionError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    TypeError,
    ValueError,
    OSError,
)
"""What a damaged file may raise."""


class CheckpointError(RuntimeError):
    """A weights file that cannot be read, or does not fit the network."""


def load_network(path: Path, config: DepthProConfig | None = None) -> DepthPro:
    """Read a network from `path`: official .pt, transformers safetensors, or our own safetensors.

    config: what the tensors must fit; None takes the file's own, or the official one where the
    file carries none. The network comes in eval mode with the precision of the file.
    Raises CheckpointError that names the tensors which are missing, extra or misshapen.
    """
    tensors, own_config = read_tensors(path)
    config = config or own_config or DepthProConfig.large()
    with torch.device('meta'):
        network = DepthPro(config)
    expected = network.state_dict()
    if any(name.startswith('depth_pro.') for name in tensors):
        tensors, faults = from_transformers(tensors, expected)
    else:
        faults = compare(tensors, expected)
    if faults:
        raise CheckpointError(f'{path} does not fit the network:\n  ' + '\n  '.join(faults))
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], DepthProConfig | None]:
    """Read all tensors of a file, and the configuration if it is one of our own."""
    with reading(path):
        if path.suffix == '.safetensors':
            tensors, metadata = read_safetensors(path)
            config = described(metadata)
        else:
            tensors, config = torch.load(path, map_location='cpu', weights_only=True), None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.dtype in DTYPES
        for name, value in tensors.items()
    ):
        raise CheckpointError(f'{path} {NO_TENSORS}')
    return tensors, config


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise CheckpointError where there is no file, and for whatever a damaged one raises."""
    if not path.is_file():
        raise CheckpointError(f'no weights file {path}')
    try:
        yield
    except pickle.UnpicklingError as error:  # torch advises to load it without looking
        raise CheckpointError(f'{path} is damaged, or {NO_TENSORS}') from error
    except UNREADABLE as error:
        reason = (str(error) or 'it ends too early').splitlines()[0]
        raise CheckpointError(f'cannot read {path}: {reason}') from error


def described(metadata: dict[str, str]) -> DepthProConfig | None:
    """Give the configuration in the metadata of one of our own files; None of others."""
    if metadata.get('format') != FORMAT:
        return None
    config = DepthProConfig.from_dict(json.loads(metadata['config']))
    with torch.device('meta'):
        DepthPro(config)  # a configuration that no network can have fails here
    return config


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a file, and its metadata.

    The file is opened again and again: what was read of an open one stays in memory with it, and
    would double what an official network takes.
    """
    with safetensors.safe_open(path, framework='pt') as file:
        names, metadata = list(file.keys()), file.metadata() or {}
    tensors = {}
    for first in range(0, len(names), READ_AT_ONCE):
        with safetensors.safe_open(path, framework='pt') as file:
            for name in names[first : first + READ_AT_ONCE]:
                tensors[name] = file.get_tensor(name).clone()
    return tensors, metadata


def save_network(path: Path, network: DepthPro, record: dict[str, Any]) -> None:
    """Write our own layout: fp16 tensors, the configuration and a training record (JSON)."""
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    metadata = {
        'format': FORMAT,
        'config': json.dumps(dataclasses.asdict(network.config)),
        'record': json.dumps(record),
    }
    aside = path.with_name(f'.{path.name}.part')  # a full disk must not cost the file before
    safetensors.torch.save_file(tensors, aside, metadata)
    aside.replace(path)


def read_record(path: Path) -> dict[str, Any]:
    """Read the training record of one of our own files without its tensors."""
    with safetensors.safe_open(path, framework='pt') as file:
        record: dict[str, Any] = json.loads((file.metadata() or {}).get('record', '{}'))
    return record


def read_config(path: Path) -> DepthProConfig:
    """Read what network a file is of, without its tensors: a .pt is taken for the official one.

    Raises CheckpointError.
    """
    with reading(path):
        if path.suffix != '.safetensors':
            return DepthProConfig.large()
        with safetensors.safe_open(path, framework='pt') as file:
            return described(file.metadata() or {}) or DepthProConfig.large()


def compare(tensors: dict[str, Tensor], expected: dict[str, Tensor], most: int = 5) -> list[str]:
    """List what keeps `tensors` from fitting `expected`: at most `most` lines of each kind."""
    missing = [f'missing: {name}' for name in expected if name not in tensors]
    extra = [f'not part of the network: {name}' for name in tensors if name not in expected]
    misshapen = [
        f'{name} has shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}'
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    lines = []
    for faults in (missing, extra, misshapen):
        lines += faults[:most]
        if len(faults) > most:
            lines.append(f'and {len(faults) - most} more like these')
    return lines


def transformers_name(name: str) -> str:
    """Give the transformers 4.49 name of one of our tensors, `{}` standing for query/key/value."""
    for pattern, replacement in OFFICIAL_TO_TRANSFORMERS:
        name, found = re.subn('^' + pattern, replacement, name)
        if found:
            break
    for pattern, replacement in INSIDE_MODULES:
        name = re.sub(pattern, replacement, name)
    return name


def from_transformers(
    tensors: dict[str, Tensor], expected: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the transformers layout to ours, joining query, key and value.

    Gives the renamed tensors, and the faults that `compare` finds under the names of the file.
    Mask tokens, which DINOv2 has for its own training only, are left out.
    """
    masks = {f'{vit}.embeddings.mask_token' for vit in TRANSFORMERS_VITS}
    tensors = {name: value for name, value in tensors.items() if name not in masks}
    theirs = to_transformers(expected)
    if faults := compare(tensors, theirs):
        return {}, faults
    renamed = {}
    for name in expected:
        parts = [transformers_name(name).format(part) for part in ('query', 'key', 'value')]
        values = [tensors[part] for part in dict.fromkeys(parts)]
        renamed[name] = values[0] if len(values) == 1 else torch.cat(values)
    return renamed, []


def to_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename our tensors to the transformers 4.49 layout; the inverse of `from_transformers`."""
    renamed = {}
    for name, value in tensors.items():
        theirs = transformers_name(name)
        if '{}' in theirs:
            for part, piece in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                renamed[theirs.format(part)] = piece.contiguous()
        else:
            renamed[theirs] = value
    return renamed
