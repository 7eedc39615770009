"""Checks of the weights, and of the memory that they need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from depth_pro_ros.cache import cache_folder
from depth_pro_ros.doctor.check import Check
from depth_pro_ros.network.config import DepthProConfig
from depth_pro_ros.network.weights import DOWNLOADS, find_weights, sha256

if TYPE_CHECKING:
    import torch

    from depth_pro_ros.network.pieces import Pieces

GIB = 2**30
LIVE_MAPS, LIVE_TOKENS = 5, 10
"""Maps of the decoder's finest level, and tokens of all tiles, that are alive at once at most."""
MARGIN_BYTES = GIB * 5 // 4
"""What Python, torch and their workspaces take: an official frame in bf16 was measured at 4.0 GB on
a CPU, of which 1.9 GB are weights and 0.8 GB maps and tokens."""


def check_weights(weights: str) -> Check:
    """Check that the weights are there and whole; downloads nothing."""
    if weights in DOWNLOADS:
        return check_download(weights)
    from depth_pro_ros.network.checkpoint import CheckpointError, load_network
    from depth_pro_ros.network.weights import WeightsError

    try:
        path = find_weights(weights)
        network = load_network(path)
    except (WeightsError, CheckpointError) as error:
        remedy = 'install the package again' if weights == 'small' else 'give another --weights'
        return Check('Weights', 'fail', str(error).splitlines()[0], remedy)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    size = network.config.image_size
    return Check('Weights', 'ok', f'{weights}: {millions:.0f} M parameters, {size}x{size} input')


def check_download(weights: str) -> Check:
    """Check weights that are fetched on first use."""
    download = DOWNLOADS[weights]
    path = cache_folder() / Path(download.url).name
    if not path.exists():
        part = path.with_suffix('.part')
        missing = download.size - (part.stat().st_size if part.exists() else 0)
        free = free_bytes(path.parent)
        found = f'{weights} is not here yet: {gib(missing)} to download to {path.parent}'
        if free < missing:
            return Check(
                'Weights',
                'fail',
                f'{found}, which has {gib(free)} free',
                'free some, or set XDG_CACHE_HOME to a folder on another disk',
            )
        return Check(
            'Weights',
            'warn',
            found,
            f'the node does it when it starts; without a network, get {download.url} elsewhere and '
            f'put it at {path}',
        )
    found_sum = sha256(path) if path.stat().st_size == download.size else 'of another size'
    if found_sum != download.sha256:
        return Check(
            'Weights', 'fail', f'{path} is damaged', f'rm {path}; the node will download it again'
        )
    return Check('Weights', 'ok', f'{weights}: {path}, whole (sha256)')


def free_bytes(folder: Path) -> int:
    """Give the free space where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_memory(weights: str, device: str, precision: str, memory: str) -> Check:
    """Check that the device has the memory that a frame takes."""
    import torch

    from depth_pro_ros.devices import choose_device, choose_precision
    from depth_pro_ros.network.checkpoint import read_config
    from depth_pro_ros.network.pieces import choose_pieces

    try:
        target = choose_device(device)
        dtype = choose_precision(precision, target)
        if weights in DOWNLOADS:
            config = DepthProConfig.large()
        else:
            config = read_config(find_weights(weights))
    except (ValueError, RuntimeError):
        return Check('Memory', 'warn', 'not checked, as device or weights are missing')
    needed = needed_bytes(config, dtype, choose_pieces(memory, target, config, dtype))
    arithmetic = str(dtype).removeprefix('torch.')
    if target.type == 'cuda':
        free, total = torch.cuda.mem_get_info(target)
        name = f'{target}, {torch.cuda.get_device_name(target)}'
    else:
        free, total = system_memory()
        name = 'cpu'
    found = (
        f'{name}: {gib(free)} free of {gib(total)}; {weights} in {arithmetic} takes about '
        f'{gib(needed)}'
    )
    if needed <= free:
        return Check('Memory', 'ok', found)
    remedy = "choose weights 'small'" if weights != 'small' else 'use a machine with more'
    if target.type == 'cuda' and dtype == torch.float32:
        remedy += ' or precision fp16'
    if target.type == 'cuda' and memory != 'low':
        remedy += ' or memory low'
    if needed > total:
        return Check('Memory', 'fail', found, remedy)
    return Check('Memory', 'warn', found, f'end what else takes memory, or {remedy}')


def needed_bytes(config: DepthProConfig, dtype: torch.dtype, pieces: Pieces) -> int:
    """Estimate the memory that the network and one frame take, computed in pieces."""
    import torch

    from depth_pro_ros.network import DepthPro

    with torch.device('meta'):
        parameters = sum(parameter.numel() for parameter in DepthPro(config).parameters())
    side = config.image_size // 2
    rows = min(side, pieces.strip_rows or side)
    maps = config.decoder_dim * side * (LIVE_MAPS * rows + side // 2)  # a coarser level is whole
    tokens = LIVE_TOKENS * config.tiles * config.grid**2 * config.vit_width
    return (parameters + maps + tokens) * dtype.itemsize + MARGIN_BYTES


def system_memory() -> tuple[int, int]:
    """Give the available and the whole memory of the machine, or of the container, in bytes."""
    from depth_pro_ros.devices import whole_memory_bytes

    lines = Path('/proc/meminfo').read_text().splitlines()
    available = next(line for line in lines if line.startswith('MemAvailable:'))
    total = whole_memory_bytes()
    return min(int(available.split()[1]) * 1024, total), total


def gib(count: int) -> str:
    """Give bytes as GiB, for people."""
    return f'{count / GIB:.1f} GiB'
