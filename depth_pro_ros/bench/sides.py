"""What is compared: each side takes a picture on the host and gives depth on the host."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from depth_pro_ros.devices import PRECISIONS, choose_device
from depth_pro_ros.network import DepthPro, DepthProConfig
from depth_pro_ros.network.checkpoint import load_network, to_transformers

Answer = tuple[NDArray[np.float32], float]
"""Depth (H, W) in metres, and the focal length in pixels."""
Run = Callable[[NDArray[np.uint8]], Answer]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all sides are given."""

    weights: Path
    device: str
    precision: str
    memory: str = 'auto'
    """Of ours; the others know no such thing."""
    compile_mode: str | None = None
    """Of torch.compile, for the others; None: eager."""

    @property
    def arithmetic(self) -> str:
        """Tell precision and compilation for people."""
        compiled = f', {self.compile_mode} compiled' if self.compile_mode else ''
        return self.precision + compiled


def ours(setting: Setting) -> Run:
    """Give this package's estimator."""
    from depth_pro_ros.estimator import DepthEstimator

    estimator = DepthEstimator.from_pretrained(
        setting.weights, setting.device, setting.precision, setting.memory
    )

    def run(rgb: NDArray[np.uint8]) -> Answer:
        prediction = estimator.predict(rgb)
        return prediction.depth_m, prediction.focal_px

    return run


def transformers(setting: Setting) -> Run:
    """Give transformers' model with its own preprocessing and postprocessing."""
    import transformers as library

    target, dtype = choose_device(setting.device), PRECISIONS[setting.precision]
    model = library.DepthProForDepthEstimation.from_pretrained(setting.weights, dtype=dtype)
    model = model.eval().to(target)
    compile_forward(model, setting)
    side = 4 * model.config.patch_size
    processor = library.DepthProImageProcessor(size={'height': side, 'width': side})

    def run(rgb: NDArray[np.uint8]) -> Answer:
        with torch.inference_mode():
            inputs = processor(images=rgb, return_tensors='pt', device=target)
            outputs = model(pixel_values=inputs['pixel_values'].to(target, dtype))
            answer: Any = processor.post_process_depth_estimation(
                outputs, target_sizes=[(rgb.shape[0], rgb.shape[1])]
            )[0]
            depth = answer['predicted_depth'].float().cpu().numpy()
        return depth, float(answer['focal_length'])

    return run


def apple(setting: Setting) -> Run:
    """Give the network of an installed `depth_pro` package."""
    import depth_pro
    from depth_pro.depth_pro import DEFAULT_MONODEPTH_CONFIG_DICT as DEFAULT

    model, transform = depth_pro.create_model_and_transforms(
        dataclasses.replace(DEFAULT, checkpoint_uri=str(setting.weights)),
        choose_device(setting.device),
        PRECISIONS[setting.precision],
    )
    model = model.eval().to(PRECISIONS[setting.precision])  # it casts itself to fp16 only
    compile_forward(model, setting)

    def run(rgb: NDArray[np.uint8]) -> Answer:
        prediction = model.infer(transform(rgb))
        return prediction['depth'].float().cpu().numpy(), float(prediction['focallength_px'])

    return run


def compile_forward(model: Any, setting: Setting) -> None:
    """Compile a side's network, where that is asked for."""
    if setting.compile_mode:
        model.forward = torch.compile(model.forward, mode=setting.compile_mode)


OURS = 'depth_pro_ros'
SIDES: dict[str, Callable[[Setting], Run]] = {
    OURS: ours,
    'transformers': transformers,
    'depth_pro': apple,
}


def installed_rivals(config: DepthProConfig) -> list[str]:
    """Give the other sides that are installed and can be what `config` describes."""
    found = [name for name in ('transformers', 'depth_pro') if importlib.util.find_spec(name)]
    if config == DepthProConfig.large():
        return found
    official_like = config.scales == 3 and not config.share_vit and not config.antialias
    return [name for name in found if name == 'transformers' and official_like]


def own_weights(side: str, weights: Path, folder: Path) -> Path:
    """Give weights as a side reads them, written into an empty folder where that is not as ours."""
    if side == 'transformers':
        write_transformers_model(folder, load_network(weights))
        return folder
    if side == 'depth_pro':
        torch.save(load_network(weights).state_dict(), folder / 'depth_pro.pt')
        return folder / 'depth_pro.pt'
    return weights


def write_transformers_model(folder: Path, network: DepthPro) -> None:
    """Write config.json and model.safetensors in the layout of transformers 4.49."""
    config = network.config
    vit = {
        'model_type': 'dinov2',
        'hidden_size': config.vit_width,
        'num_hidden_layers': config.vit_depth,
        'num_attention_heads': config.vit_heads,
        'image_size': config.tile_size,
        'patch_size': config.patch_size,
        'mlp_ratio': 4,
        'layer_norm_eps': 1e-6,
        'use_mask_token': False,
    }
    latent0, latent1, fine, middle, coarse = config.neck_dims
    described = {
        'model_type': 'depth_pro',
        'architectures': ['DepthProForDepthEstimation'],
        'patch_size': config.tile_size,
        'fusion_hidden_size': config.decoder_dim,
        'intermediate_hook_ids': list(reversed(config.intermediate_blocks)),
        'intermediate_feature_dims': [latent1, latent0],
        'scaled_images_feature_dims': [coarse, middle, fine],
        'merge_padding_value': config.grid // 8,
        'use_fov_model': True,
        'image_model_config': vit,
        'patch_model_config': vit,
        'fov_model_config': vit,
    }
    (folder / 'config.json').write_text(json.dumps(described))
    tensors = to_transformers(network.state_dict())
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})
