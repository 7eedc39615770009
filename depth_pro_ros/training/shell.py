"""Floor, walls with windows and doors, ceiling, the room next door and the world outside."""

from dataclasses import replace

import numpy as np

from depth_pro_ros.training import scene as s
from depth_pro_ros.training.scene import Item, Light, Material, Scene, box_item, quads_mesh

JAMB_M = 0.22
SKY_M = 600.0
PLACES, PLACE_SHARES = ('room', 'corridor', 'hall', 'court'), (0.77, 0.07, 0.08, 0.08)


def random_rgb(rng: np.random.Generator, low: float, high: float, chroma: float) -> tuple:
    """A colour of random brightness, `chroma` away from grey."""
    grey = rng.uniform(low, high)
    return tuple(np.clip(grey * (1 + chroma * rng.uniform(-1, 1, 3)), 0.01, 1.0))


def sometimes_photo(
    material: Material, rng: np.random.Generator, share: float, low_m: float, high_m: float
) -> Material:
    """Let a share of such surfaces show a photograph, of a size drawn log-uniformly."""
    if rng.random() >= share:
        return material
    return replace(material, photo_m=float(np.exp(rng.uniform(np.log(low_m), np.log(high_m)))))


def wall_material(rng: np.random.Generator) -> Material:
    """Mostly pale paint, sometimes wallpaper, brick or tiles."""
    pattern = rng.choice([s.PLAIN, s.STRIPES, s.BRICKS, s.TILES], p=[0.72, 0.12, 0.06, 0.1])
    rgb = random_rgb(rng, 0.3, 0.9, 0.2)
    other = tuple(np.clip(np.array(rgb) * rng.uniform(0.7, 1.1), 0, 1))
    look = Material(int(pattern), rgb, other, rng.uniform(0.08, 0.4), 0.1, rng.uniform(0, 99))
    return sometimes_photo(look, rng, 0.35, 0.3, 3.0)


def floor_material(rng: np.random.Generator) -> Material:
    """Wood, tiles, carpet or plain."""
    pattern = int(rng.choice([s.PLANKS, s.TILES, s.CARPET, s.PLAIN], p=[0.45, 0.25, 0.2, 0.1]))
    wood = np.array([0.5, 0.3, 0.16]) * rng.uniform(0.4, 1.5)
    rgb = tuple(wood.clip(0, 1)) if pattern == s.PLANKS else random_rgb(rng, 0.12, 0.75, 0.25)
    other = tuple(np.clip(np.array(rgb) * rng.uniform(0.5, 1.1), 0, 1))
    period = rng.uniform(0.25, 0.6) if pattern == s.TILES else rng.uniform(0.08, 0.25)
    look = Material(pattern, rgb, other, period, rng.uniform(0, 0.5), rng.uniform(0, 99))
    return sometimes_photo(look, rng, 0.5, 0.3, 3.0)


def place_size(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(x, y, z) of a place of this kind in metres; z of a court is its walls' height."""
    if kind == 'court':
        size = rng.uniform(5, 12), rng.uniform(6, 18), rng.uniform(2.2, 5.0)
    elif kind == 'corridor':
        size = rng.uniform(1.3, 2.4), rng.uniform(5, 14), rng.uniform(2.3, 3.0)
    elif kind == 'hall':
        size = rng.uniform(6, 11), rng.uniform(7, 15), rng.uniform(2.8, 4.5)
    else:
        size = rng.uniform(2.6, 5.2), rng.uniform(3.2, 7.0), rng.uniform(2.3, 2.9)
    return np.array(size[:2][:: rng.choice([-1, 1])] + size[2:])


def build_shell(rng: np.random.Generator) -> Scene:
    """An empty place with openings, lit by lamps or the sun; a court has the sky for a ceiling."""
    kind = str(rng.choice(PLACES, p=PLACE_SHARES))
    scene = Scene(place_size(kind, rng))
    x, y, z = scene.size_m
    floor = quads_mesh([[(0, 0, 0), (x, 0, 0), (x, y, 0), (0, y, 0)]])
    ceiling = quads_mesh([[(0, 0, z), (0, y, z), (x, y, z), (x, 0, z)]])
    _add_surface(scene, floor, floor_material(rng))
    white = Material(s.PLAIN, random_rgb(rng, 0.6, 0.95, 0.05), seed=rng.uniform(0, 99))
    if kind != 'court':
        _add_surface(scene, ceiling, sometimes_photo(white, rng, 0.15, 0.3, 2.0))
    paint = wall_material(rng)
    for side in range(4):
        material = wall_material(rng) if rng.random() < 0.15 else paint
        _add_wall(scene, side, material, rng)
    add_outside(scene, rng, ground_m=rng.choice([-0.3, rng.uniform(-12, -2)]))
    add_lights(scene, rng, kind == 'court' or rng.random() < 0.3, int(rng.integers(1, 4)))
    return scene


def wall_frame(scene: Scene, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return a wall's start corner, direction along it, inward normal and length."""
    x, y, _ = scene.size_m
    start = np.array([(0, 0, 0), (x, 0, 0), (x, y, 0), (0, y, 0)][side], float)
    along = np.array([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)][side], float)
    inward = np.array([(0, 1, 0), (-1, 0, 0), (0, -1, 0), (1, 0, 0)][side], float)
    return start, along, inward, (x, y)[side % 2]


def _add_surface(scene: Scene, mesh, material: Material) -> None:
    scene.items.append(Item(mesh, material, np.zeros(3), np.zeros(3), solid=False))


def _add_wall(scene: Scene, side: int, material: Material, rng: np.random.Generator) -> None:
    start, along, inward, length = wall_frame(scene, side)
    height = scene.size_m[2]
    openings = []
    if rng.random() < 0.55:
        width = rng.uniform(0.7, min(2.6, length - 0.4))
        left = rng.uniform(0.2, length - width - 0.2) if length - width > 0.5 else 0.2
        if rng.random() < 0.35:  # a doorway to the room next door
            width = min(width, rng.uniform(0.75, 1.6))
            openings.append((left, left + width, 0.0, rng.uniform(1.95, 2.2)))
            _add_next_room(scene, side, left + width / 2, rng)
        else:
            sill = rng.choice([rng.uniform(0.7, 1.1), 0.05])
            openings.append((left, left + width, sill, rng.uniform(1.9, height - 0.1)))
            _dress_window(scene, side, openings[-1], rng)

    def at(u: float, v: float) -> np.ndarray:
        return start + u * along + np.array([0, 0, v])

    quads = []
    us = sorted({0.0, length, *(e for o in openings for e in o[:2])})
    vs = sorted({0.0, height, *(e for o in openings for e in o[2:])})
    for u0, u1 in zip(us, us[1:], strict=False):
        for v0, v1 in zip(vs, vs[1:], strict=False):
            if not any(o[0] <= u0 < o[1] and o[2] <= v0 < o[3] for o in openings):
                quads.append([at(u1, v0), at(u0, v0), at(u0, v1), at(u1, v1)])
    for u0, u1, v0, v1 in openings:
        ring = [at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)]
        for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
            quads.append([a, b, b - JAMB_M * inward, a - JAMB_M * inward])
    _add_surface(scene, quads_mesh(quads), material)


def _dress_window(scene: Scene, side: int, opening: tuple, rng: np.random.Generator) -> None:
    """Frame bars, and often a curtain or blind that closes part of the view."""
    start, along, inward, _ = wall_frame(scene, side)
    u0, u1, v0, v1 = opening
    yaw = np.arctan2(along[1], along[0])
    white = Material(s.PLAIN, random_rgb(rng, 0.4, 0.95, 0.1), gloss=0.3)
    bars = int(rng.integers(1, 4))
    for u in np.linspace(u0, u1, bars + 2):
        foot = start + u * along - 0.1 * inward + (0, 0, v0)
        scene.items.append(box_item((0.05, 0.05, v1 - v0), foot, white, yaw, solid=False))
    for v in (v0, v1 - 0.05):
        foot = start + (u0 + u1) / 2 * along - 0.1 * inward + (0, 0, v)
        scene.items.append(box_item((u1 - u0, 0.05, 0.05), foot, white, yaw, solid=False))
    if rng.random() < 0.6:
        rgb_a, rgb_b = random_rgb(rng, 0.1, 0.9, 0.5), random_rgb(rng, 0.1, 0.9, 0.5)
        cloth = Material(s.STRIPES, rgb_a, rgb_b, seed=rng.uniform(0, 99))
        cloth = sometimes_photo(cloth, rng, 0.4, 0.1, 1.5)
        share = rng.choice([1.0, rng.uniform(0.15, 0.6)])
        centre = start + (u0 + share * (u1 - u0) / 2) * along + 0.06 * inward
        foot = centre + (0, 0, max(0.02, v0 - rng.uniform(0, 0.6)))
        size = (share * (u1 - u0) + 0.1, 0.06, v1 - foot[2] + 0.1)
        scene.items.append(box_item(size, foot, cloth, yaw, solid=False))


def _add_next_room(scene: Scene, side: int, u: float, rng: np.random.Generator) -> None:
    """A plain box behind a doorway, open towards us, with a few blocks in it."""
    start, along, inward, _ = wall_frame(scene, side)
    deep, wide, height = rng.uniform(1.5, 6), rng.uniform(2, 5), scene.size_m[2]
    centre = start + u * along - JAMB_M * inward
    left, right = centre - wide / 2 * along, centre + wide / 2 * along
    back_l, back_r, up = left - deep * inward, right - deep * inward, np.array([0, 0, height])
    walls = [
        [back_r, back_l, back_l + up, back_r + up],
        [back_l, left, left + up, back_l + up],
        [right, back_r, back_r + up, right + up],
    ]
    _add_surface(scene, quads_mesh(walls), wall_material(rng))
    _add_surface(scene, quads_mesh([[left, back_l, back_r, right]]), floor_material(rng))
    ceiling = [[right + up, back_r + up, back_l + up, left + up]]
    _add_surface(scene, quads_mesh(ceiling), Material(rgb_a=(0.8, 0.8, 0.8)))
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform((0.3, 0.3, 0.4), (1.2, 0.6, 2.0))
        offset = rng.uniform(-0.4, 0.4) * wide * along - rng.uniform(0.5, 0.95) * deep * inward
        material = Material(rgb_a=random_rgb(rng, 0.05, 0.8, 0.4), seed=rng.uniform(0, 99))
        material = sometimes_photo(material, rng, 0.5, 0.15, 1.5)
        scene.items.append(box_item(size, centre + offset, material, solid=False))


def add_outside(scene: Scene, rng: np.random.Generator, ground_m: float) -> None:
    """A sky dome box, ground below, and blocks like houses and hedges."""
    centre = np.array([*scene.size_m[:2] / 2, ground_m])
    size = np.array([SKY_M, SKY_M, 2 * SKY_M / 3])
    dome = s.box_mesh(size, inward=True)
    bright = rng.uniform(0.3, 4.0)
    sky = Material(
        s.SKY,
        tuple(bright * np.array([rng.uniform(0.25, 0.85), rng.uniform(0.5, 0.9), 1.0])),
        tuple(bright * np.array([0.25, 0.3, 0.2])),
    )
    scene.items.append(Item(dome, sky, size, centre, solid=False))
    around = float(np.linalg.norm(scene.size_m[:2])) / 2
    for _ in range(rng.integers(2, 9)):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(8, 30) + around
        foot = centre + (far * np.cos(angle), far * np.sin(angle), 0)
        block = rng.uniform((1, 1, 1), (9, 9, 14))
        rgb = tuple(bright * np.array(random_rgb(rng, 0.1, 0.6, 0.4)))
        scene.items.append(box_item(block, foot, Material(s.SKY, rgb, rgb), solid=False))


def add_lights(
    scene: Scene, rng: np.random.Generator, sun: bool, lamps: int, daylight: float = 1.0
) -> None:
    """First the light that casts shadows (sun or lamp), then the other lamps."""
    x, y, z = scene.size_m
    if sun:
        angle = rng.uniform(0, 2 * np.pi)
        towards = np.array([np.cos(angle), np.sin(angle), rng.uniform(0.3, 1.2)])
        rgb = daylight * rng.uniform(1, 3) * _warm_white(rng)
        scene.lights.append(Light((*(towards / np.linalg.norm(towards)), 0.0), tuple(rgb)))
    for _ in range(lamps):
        place = (*(rng.uniform(0.2, 0.8, 2) * (x, y)), z - rng.uniform(0.1, 0.5))
        rgb = rng.uniform(0.6, 2.0) * max(x * y / 14, 0.7) * _warm_white(rng)
        scene.lights.append(Light((*place, 1.0), tuple(rgb)))
    scene.ambient_rgb = tuple(daylight * rng.uniform(0.15, 0.6) * _warm_white(rng))


def _warm_white(rng: np.random.Generator) -> np.ndarray:
    return np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.05)])
