"""Metric distance all around a camera: a network looks, and the floor tells the metres.

A network's depth of one view has an unknown scale. All views of a panorama have one centre, so
that their median is steadier than each; and a camera that stands `tripod_m` above a level floor
knows how far each point of that floor is, tripod_m / sin(angle below the horizon). From the
floor's points, near and far, follows what the network's distances have to be raised to and
multiplied with, which then holds for everything else as well.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from depth_pro_ros.network import DepthPro, stretch
from depth_pro_ros.training.camera_view import View, look
from depth_pro_ros.training.sphere import angles, directions
from depth_pro_ros.training.train import autocast

HEIGHT, WIDTH = 128, 256
LOOKS, TILES_TOGETHER = 32, 8
PITCHES = (-0.6, -0.25, 0.05, 0.35)
BORDER = 0.97
"""The outermost part of a view is not believed."""
UNSURE_SHARE = 0.1
"""What the views agree least on is unknown."""
FLOOR_BELOW, CLEAR_ABOVE, SURELY_BELOW = np.radians([6.0, 35.0, 50.0])
"""Angles below the horizon: where floor begins, up to where it is clearly told from a wall, and
from where on there is nothing else."""
LEAST_FLOOR = 0.03
"""Of what lies between the first two, to believe that there is a floor."""
EXPONENTS = (0.5, 1.5)

Photograph = Callable[[View, np.random.Generator], NDArray[np.uint8]]


def survey(network: DepthPro, photograph: Photograph, tripod_m: float) -> NDArray[np.float32]:
    """Give the distance (HEIGHT, WIDTH) along each ray in metres, NaN where unknown.

    photograph: what a view shows, (H, W, 3). Raises ValueError where no floor is to be seen.
    """
    looks = look_around(network, photograph)
    seen = np.isfinite(looks).sum(axis=0) > 1
    distance, unsure = np.full((2, HEIGHT, WIDTH), np.nan)
    distance[seen] = np.nanmedian(looks[:, seen], axis=0)
    unsure[seen] = np.nanstd(np.log(looks[:, seen]), axis=0)
    floor, level_m = find_floor(distance), floor_distance(tripod_m)
    latitude = angles(HEIGHT, WIDTH)[1]
    if floor[(latitude < -FLOOR_BELOW) & (latitude > -CLEAR_ABOVE)].mean() < LEAST_FLOOR:
        raise ValueError('no floor is to be seen, without which nothing is metric')
    factor, exponent = fit(distance[floor], level_m[floor])
    distance_m = factor * distance**exponent
    with np.errstate(divide='ignore', invalid='ignore'):
        flat = floor & (np.abs(np.log(distance_m / level_m)) < 0.2)
    distance_m[flat] = level_m[flat]
    distance_m[~flat & (unsure > np.nanquantile(unsure, 1 - UNSURE_SHARE))] = np.nan
    return distance_m.astype(np.float32)


@torch.inference_mode()
def look_around(network: DepthPro, photograph: Photograph) -> NDArray[np.float32]:
    """Give the distances (LOOKS, HEIGHT, WIDTH) that a network sees in views all around."""
    rng, device = np.random.default_rng(0), next(network.parameters()).device
    sphere, together = directions(HEIGHT, WIDTH), max(1, TILES_TOGETHER // network.config.tiles)
    found = np.full((LOOKS, HEIGHT, WIDTH), np.nan, np.float32)
    for first in range(0, LOOKS, together):
        views = [
            look(
                (0, 0, 0),
                2 * np.pi * number / LOOKS,
                PITCHES[number % len(PITCHES)],
                0.0,
                rng.uniform(50, 95),
                4 / 3,
            )
            for number in range(first, min(first + together, LOOKS))
        ]
        pictures = (torch.from_numpy(photograph(view, rng)) for view in views)
        images = [stretch(rgb.permute(2, 0, 1)[None], network.config) for rgb in pictures]
        inputs = torch.cat(images).to(device).float() / 127.5 - 1
        with autocast(device):
            answers = network(inputs, need_fov=False).inverse_depth[:, 0].cpu()
        for number, (view, c) in enumerate(zip(views, answers.numpy(), strict=True), first):
            found[number] = seen_by(view, c, sphere)
    return found


def seen_by(view: View, c: NDArray[np.float32], sphere: NDArray[np.float64]) -> NDArray[np.float32]:
    """Give distances in a map's directions from a view's canonical inverse depth (S, S)."""
    local = sphere @ view.axes.T
    ahead = local[..., 2].clip(0.05)
    u, v = local[..., 0] / ahead / view.tan_half_x, local[..., 1] / ahead / view.tan_half_y
    inside = (local[..., 2] > 0.05) & (np.abs(u) < BORDER) & (np.abs(v) < BORDER)
    x, y = (((share + 1) / 2 * len(c) - 0.5).astype(np.float32) for share in (u, v))
    seen = cv2.remap(c, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    depth = 0.5 / view.tan_half_x / seen.clip(1e-3)
    return np.where(inside, depth / ahead, np.nan).astype(np.float32)


def find_floor(distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where distances (H, W), right but for a factor and an exponent, are those of a floor.

    Upwards from below, column by column: over a floor the way to a point below it grows with the
    latitude as 1 / tan does, at a wall it stays.
    """
    height, width = distance.shape
    latitude = angles(height, width)[1]
    below = (latitude < -FLOOR_BELOW)[:, None]
    way = np.log(distance * np.cos(latitude)[:, None])
    seen = np.isfinite(way)
    share = cv2.GaussianBlur(seen.astype(np.float64), (5, 5), 0)
    way = cv2.GaussianBlur(np.where(seen, way, 0), (5, 5), 0) / share.clip(1e-6)
    growth = -np.gradient(way, axis=0) * height / np.pi
    expected = 1 / np.maximum(np.sin(-latitude) * np.cos(latitude), 1e-3)
    grows = (growth > 0.4 * expected[:, None]) | (latitude < -SURELY_BELOW)[:, None]
    grows |= ~seen  # as straight below
    ended = np.cumsum(~grows[::-1], axis=0)[::-1] > 2
    return below & ~ended & seen


def floor_distance(tripod_m: float) -> NDArray[np.float64]:
    """Give how far a level floor is in a map's directions (H, W); Inf above the horizon."""
    down = np.sin(-angles(HEIGHT, WIDTH)[1])
    column = np.where(down > 1e-3, tripod_m / down.clip(1e-3), np.inf)
    return np.repeat(column[:, None], WIDTH, axis=1)


def fit(distance: NDArray[np.float64], true_m: NDArray[np.float64]) -> tuple[float, float]:
    """Give (factor, exponent) of true_m = factor * distance ** exponent, least absolute error."""
    x, y = np.log(distance), np.log(true_m)
    weight, slope, middle = np.ones_like(x), 1.0, 0.0
    for _ in range(20):
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = np.average((x - mean_x) ** 2, weights=weight)
        slope = np.average((x - mean_x) * (y - mean_y), weights=weight) / max(spread, 1e-6)
        slope = float(np.clip(slope, *EXPONENTS))
        middle = float(mean_y - slope * mean_x)
        weight = 1 / np.abs(y - middle - slope * x).clip(0.03)
    return float(np.exp(middle)), slope
