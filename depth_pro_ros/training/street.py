"""Streets: two rows of houses under the sky, with vehicles, people and trees between them."""

import numpy as np
from numpy.typing import ArrayLike

from depth_pro_ros.training import scene as s
from depth_pro_ros.training.furniture import Furniture
from depth_pro_ros.training.layout import place, place_on_floor
from depth_pro_ros.training.scene import Item, Material, Scene, box_item, quads_mesh
from depth_pro_ros.training.shell import add_lights, add_outside, random_rgb, sometimes_photo

WEIGHTS = {'Vehicles': 4, 'Exterior': 2, 'Characters': 2}


def build_street(pieces: list[Furniture], rng: np.random.Generator) -> Scene:
    """Build a street along y, of 9 to 26 m between the houses, lit by the sun."""
    scene = Scene(np.array([rng.uniform(9, 26), rng.uniform(25, 80), rng.uniform(4, 16)]))
    x, y, z = scene.size_m
    add_outside(scene, rng, ground_m=-0.05)
    earth = np.array(random_rgb(rng, 0.05, 0.4, 0.15))
    if rng.random() < 0.3:  # grass
        earth *= (0.8, 1.2, 0.4)
    ground = _two_shades(s.CARPET, earth, 0.7, rng.uniform(1, 6))
    pavement = _two_shades(s.TILES, random_rgb(rng, 0.15, 0.6, 0.15), 0.8, 0.5)
    scene.items.append(box_item((3 * x, 3 * y, 0.02), (x / 2, y / 2, -0.02), ground, solid=False))
    for side in (-1, 1):
        wide = rng.uniform(1.0, 3.0)
        kerb = (wide, 3 * y, 0.02), (x / 2 + side * (x - wide) / 2, y / 2, 0.0)
        scene.items.append(box_item(*kerb, pavement, solid=False))
        _add_houses(scene, side, rng)
    if rng.random() < 0.4:  # the street ends at a house
        size = rng.uniform((x, 6, 0.5 * z), (2 * x, 12, 1.3 * z))
        scene.items.append(box_item(size, (x / 2, y + size[1] / 2, 0), _facade(rng)))
    add_lights(scene, rng, sun=True, lamps=0, daylight=rng.uniform(1.5, 5))
    outdoor = [
        p for p in pieces if p.category in WEIGHTS and p.size_m[2] > 0.3 and not p.elevation_m
    ]
    weights = np.array([WEIGHTS[p.category] for p in outdoor], float)
    for _ in range(rng.integers(6, 40) if outdoor else 0):
        piece = outdoor[rng.choice(len(outdoor), p=weights / weights.sum())]
        place_on_floor(scene, piece, rng)
    for _ in range(int(rng.choice([0, rng.uniform(1, 12)]))):
        _add_tree(scene, rng)
    return scene


def _add_houses(scene: Scene, side: int, rng: np.random.Generator) -> None:
    """Put a row of houses along one side, -1 or 1, with a gap now and then."""
    x, y, z = scene.size_m
    at = -rng.uniform(0, 15)
    while at < y:
        wide, deep, high = rng.uniform((5, 6, 0.4 * z), (22, 12, 1.3 * z))
        back = rng.choice([0.0, rng.uniform(0, 3)])
        foot = np.array([x / 2 + side * (x / 2 + back + deep / 2), at + wide / 2, 0.0])
        scene.items.append(box_item((deep, wide, high), foot, _facade(rng)))
        if high > 2.7 and rng.random() < 0.5:  # a sill or a balcony along all of it
            ledge = (rng.uniform(0.1, 0.9), wide, rng.uniform(0.1, 0.4))
            edge = x / 2 + side * (x / 2 + back - ledge[0] / 2)
            place = (edge, at + wide / 2, rng.uniform(2.6, high))
            plaster = Material(rgb_a=random_rgb(rng, 0.2, 0.9, 0.2))
            scene.items.append(box_item(ledge, place, plaster))
        at += wide + rng.choice([0.0, rng.uniform(0.5, 8)])


def _two_shades(pattern: int, rgb: ArrayLike, darker: float, period_m: float) -> Material:
    """A colour in a pattern with a darker one."""
    rgb = np.asarray(rgb)
    return Material(pattern, tuple(rgb), tuple(darker * rgb), period_m)


def _facade(rng: np.random.Generator) -> Material:
    """Rows of windows in plaster, or bricks."""
    pattern = int(rng.choice([s.FACADE, s.BRICKS, s.PLAIN], p=[0.75, 0.15, 0.1]))
    period = rng.uniform(0.15, 0.4) if pattern == s.BRICKS else rng.uniform(1.8, 4.5)
    wall, glass = random_rgb(rng, 0.2, 0.9, 0.25), random_rgb(rng, 0.02, 0.4, 0.2)
    look = Material(pattern, wall, glass, period, rng.uniform(0, 0.3), rng.uniform(0, 99))
    return sometimes_photo(look, rng, 0.2, 0.5, 5.0)


def _add_tree(scene: Scene, rng: np.random.Generator) -> None:
    """Plant a trunk with one to four balls of leaves near one side of the street."""
    x, y, _ = scene.size_m
    inset = rng.uniform(0.5, 3.0)
    spot = np.array([rng.choice([inset, x - inset]), rng.uniform(0, y), 0.0])
    thick, high = rng.uniform((0.12, 1.5), (0.5, 4.0))
    bark = _two_shades(s.CARPET, random_rgb(rng, 0.05, 0.25, 0.3), 0.6, 0.3)
    if not place(scene, box_item((thick, thick, high), spot, bark)):
        return
    green = np.array([0.5, 1.0, 0.3]) * rng.uniform(0.05, 0.5)
    leaves = _two_shades(s.CARPET, green, 0.4, rng.uniform(0.1, 0.6))
    for _ in range(rng.integers(1, 5)):
        size = rng.uniform((1.2, 1.2, 1.0), (4.5, 4.5, 4.0))
        centre = spot + (*rng.normal(0, 0.6, 2), high + rng.uniform(0.2, 0.45) * size[2])
        scene.items.append(Item(_ball(size, rng), leaves, size, centre, solid=False))


def _ball(size_m: np.ndarray, rng: np.random.Generator, rings: int = 9, around: int = 14):
    """Make a dented ball around the origin."""
    up, turn = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, around + 1)
    radius = rng.uniform(0.75, 1.1, (rings + 1, around + 1))
    radius[:, -1] = radius[:, 0]
    radius[0], radius[-1] = radius[0, 0], radius[-1, 0]  # all meet at the poles
    ring = np.sin(up)[:, None]
    unit = np.stack([ring * np.cos(turn), ring * np.sin(turn), np.cos(up)[:, None] + 0 * turn], -1)
    p = unit * radius[..., None] * size_m / 2  # (rings + 1, around + 1, 3)
    faces = np.stack([p[:-1, :-1], p[1:, :-1], p[1:, 1:], p[:-1, 1:]], axis=2)
    return quads_mesh(faces.reshape(-1, 4, 3))
