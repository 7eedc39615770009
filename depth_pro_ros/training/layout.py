"""Puts furniture into an empty room: along walls, around tables, on shelves and on the floor."""

import numpy as np

from depth_pro_ros.training import scene as s
from depth_pro_ros.training.furniture import Furniture
from depth_pro_ros.training.scene import Item, Material, Scene, box_item
from depth_pro_ros.training.shell import random_rgb, sometimes_photo, wall_frame

THEMES = (
    {'Living room': 5, 'Office': 1, 'Miscellaneous': 1, 'Lights': 1},
    {'Bedroom': 5, 'Living room': 2, 'Miscellaneous': 1, 'Lights': 1},
    {'Kitchen': 6, 'Living room': 1, 'Miscellaneous': 1},
    {'Office': 5, 'Living room': 2, 'Miscellaneous': 2},
    {'Bathroom': 6, 'Bedroom': 1, 'Kitchen': 1},
    {'Living room': 1, 'Bedroom': 1, 'Kitchen': 1, 'Office': 1, 'Miscellaneous': 2},
)


def furnish(scene: Scene, pieces: list[Furniture], rng: np.random.Generator) -> None:
    """Fill the room in place with pieces of one theme, at a random density."""
    theme = THEMES[rng.integers(len(THEMES))]
    indoor = [p for p in pieces if p.category in theme]
    density = rng.uniform(0.5, 2.4)
    perimeter = 2 * (scene.size_m[0] + scene.size_m[1])
    tables = [p for p in pieces if 'table' in p.name and 0.35 < p.size_m[2] < 0.9]
    chairs = [p for p in pieces if 'chair' in p.name and p.size_m[2] > 0.6]
    small = [p for p in pieces if max(p.size_m) < 0.55 and min(p.size_m) > 0.02]
    standing = [
        p for p in indoor if max(p.size_m) > 0.5 and p.size_m[2] > 0.3 and not p.elevation_m
    ]
    hanging = [p for p in indoor if 0.6 < p.elevation_m < 2.0]
    for _ in range(round(perimeter * density)):
        _against_wall(scene, _draw(standing, theme, rng), rng)
    for _ in range(rng.integers(0, 3) if tables and chairs else 0):
        _table_group(scene, tables, chairs, rng)
    for _ in range(rng.integers(0, 7)):
        if hanging:
            _against_wall(scene, hanging[rng.integers(len(hanging))], rng)
    for _ in range(rng.integers(0, 7)):
        _poster(scene, rng)
    people = [p for p in pieces if p.category == 'Characters']
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.65, 0.2, 0.1, 0.05])) if people else 0):
        place_on_floor(scene, people[rng.integers(len(people))], rng)
    for _ in range(round(scene.size_m[0] * scene.size_m[1] * density * 0.2)):
        place_on_floor(scene, _draw(standing, theme, rng), rng)
    for _ in range(rng.integers(0, 16)):
        _floor_clutter(scene, small, rng)
    _clutter_on_tops(scene, small, rng)
    _rug_and_lamps(scene, pieces, rng)


def _draw(pieces: list[Furniture], theme: dict[str, int], rng: np.random.Generator) -> Furniture:
    weights = np.array([theme[p.category] * min(p.size_m[0], 2) for p in pieces], float)
    return pieces[rng.choice(len(pieces), p=weights / weights.sum())]


def _item(piece: Furniture, position_m: np.ndarray, yaw: float, rng: np.random.Generator) -> Item:
    rgb = random_rgb(rng, 0.35, 1.0, 0.5) if rng.random() < 0.4 else (1.0, 1.0, 1.0)
    material = Material(rgb_a=rgb, gloss=rng.uniform(0, 0.4), seed=rng.uniform(0, 99))
    material = sometimes_photo(material, rng, 0.3, 0.1, 1.5)
    scale = rng.uniform(0.93, 1.07)
    size = np.array(piece.size_m) * scale
    return Item(piece, material, size, position_m, yaw)


def place(scene: Scene, item: Item) -> bool:
    """Add an item unless it sticks out of the scene or into another item; tell whether it is in."""
    low, high = item.bounds()
    inside = (
        np.all(low[:2] > 0) and np.all(high[:2] < scene.size_m[:2]) and high[2] < scene.size_m[2]
    )
    if inside and scene.is_free(low, high):
        scene.items.append(item)
        return True
    return False


def _against_wall(scene: Scene, piece: Furniture, rng: np.random.Generator) -> None:
    start, along, inward, length = wall_frame(scene, int(rng.integers(4)))
    width, depth, _ = piece.size_m
    if width > length - 0.1:
        return
    u = rng.uniform(width / 2, length - width / 2)
    gap = 0.56 * depth + rng.choice([0.0, rng.uniform(0, 0.15)])
    foot = start + u * along + gap * inward + (0, 0, piece.elevation_m)
    yaw = np.arctan2(inward[1], inward[0]) + np.pi / 2  # the front looks into the room
    place(scene, _item(piece, foot, yaw + rng.choice([0.0, rng.normal(0, 0.05)]), rng))


def place_on_floor(scene: Scene, piece: Furniture, rng: np.random.Generator) -> None:
    """Put a piece anywhere on the floor, unless something stands there."""
    foot = np.array([*rng.uniform(0.1, 0.9, 2) * scene.size_m[:2], 0.0])
    yaw = rng.choice([rng.uniform(0, 2 * np.pi), rng.integers(4) * np.pi / 2])
    place(scene, _item(piece, foot, yaw, rng))


def _table_group(scene: Scene, tables, chairs, rng: np.random.Generator) -> None:
    table = tables[rng.integers(len(tables))]
    chair = chairs[rng.integers(len(chairs))]
    foot = np.array([*rng.uniform(0.25, 0.75, 2) * scene.size_m[:2], 0.0])
    yaw = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.1)
    if not place(scene, _item(table, foot, yaw, rng)):
        return
    for side in range(4):
        for _ in range(rng.integers(0, 3)):
            angle = yaw + side * np.pi / 2
            reach = table.size_m[(side + 1) % 2] / 2 + chair.size_m[1] * rng.uniform(0.3, 0.8)
            slide = rng.uniform(-0.4, 0.4) * table.size_m[side % 2]
            out = np.array([np.sin(angle), -np.cos(angle), 0.0])
            aside = np.array([np.cos(angle), np.sin(angle), 0.0])
            turn = angle + np.pi + rng.normal(0, 0.25)
            place(scene, _item(chair, foot + reach * out + slide * aside, turn, rng))


def _poster(scene: Scene, rng: np.random.Generator) -> None:
    start, along, inward, length = wall_frame(scene, int(rng.integers(4)))
    width, height = rng.uniform(0.2, 1.2), rng.uniform(0.2, 0.9)
    foot = start + rng.uniform(0.1, 0.9) * length * along + 0.015 * inward
    foot[2] = rng.uniform(1.0, max(1.1, scene.size_m[2] - height - 0.1))
    rgb_a, rgb_b = random_rgb(rng, 0.05, 0.9, 0.8), random_rgb(rng, 0.05, 0.9, 0.8)
    material = Material(s.POSTER, rgb_a, rgb_b, width, rng.uniform(0, 0.8), rng.uniform(0, 99))
    material = sometimes_photo(material, rng, 0.5, width, 2 * width)
    place(scene, box_item((width, 0.025, height), foot, material, np.arctan2(along[1], along[0])))


def _floor_clutter(scene: Scene, small: list[Furniture], rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        return place_on_floor(scene, small[rng.integers(len(small))], rng)
    size = rng.uniform((0.15, 0.15, 0.1), (0.6, 0.6, 0.6))
    foot = np.array([*rng.uniform(0.05, 0.95, 2) * scene.size_m[:2], 0.0])
    place(scene, box_item(size, foot, _box_material(rng), rng.uniform(0, np.pi)))


def _box_material(rng: np.random.Generator) -> Material:
    pattern = int(rng.choice([s.PLAIN, s.POSTER, s.STRIPES]))
    rgb_a, rgb_b = random_rgb(rng, 0.03, 0.9, 0.8), random_rgb(rng, 0.03, 0.9, 0.8)
    look = Material(pattern, rgb_a, rgb_b, rng.uniform(0.02, 0.3), 0.2, rng.uniform(0, 99))
    return sometimes_photo(look, rng, 0.5, 0.06, 0.8)


def _clutter_on_tops(scene: Scene, small: list[Furniture], rng: np.random.Generator) -> None:
    for base in list(scene.items):
        piece = base.shape
        if not isinstance(piece, Furniture) or not 0.2 < (piece.shelf_m or piece.size_m[2]) < 1.5:
            continue
        flat = any(
            w in piece.name for w in ('table', 'desk', 'cabinet', 'dresser', 'chest', 'shel')
        )
        if not flat and piece.shelf_m is None or (piece.shelf_m or 1) < 0:
            continue
        top = (piece.shelf_m or piece.size_m[2]) * base.size_m[2] / piece.size_m[2]
        c, sn = np.cos(base.yaw), np.sin(base.yaw)
        for _ in range(rng.integers(0, 12)):
            x, y = rng.uniform(-0.4, 0.4, 2) * base.size_m[:2]
            foot = base.position_m + (c * x - sn * y, sn * x + c * y, top)
            yaw = base.yaw + rng.choice([0, rng.uniform(0, 6.28)])
            if rng.random() < 0.65:
                item = _item(small[rng.integers(len(small))], foot, yaw, rng)
            else:
                size = rng.uniform((0.03, 0.03, 0.02), (0.3, 0.25, 0.3))
                item = box_item(size, foot, _box_material(rng), yaw)
            if max(item.size_m[:2]) < min(base.size_m[:2]):
                place(scene, item)


def _rug_and_lamps(scene: Scene, pieces: list[Furniture], rng: np.random.Generator) -> None:
    x, y, z = scene.size_m
    if rng.random() < 0.4:
        size = (*(rng.uniform(0.3, 0.7, 2) * scene.size_m[:2]), 0.01)
        foot = (*(rng.uniform(0.4, 0.6, 2) * scene.size_m[:2]), 0.0)
        pattern = int(rng.choice([s.CARPET, s.STRIPES, s.POSTER]))
        rgb_a, rgb_b = random_rgb(rng, 0.1, 0.8, 0.7), random_rgb(rng, 0.1, 0.8, 0.7)
        rug = Material(pattern, rgb_a, rgb_b, rng.uniform(0.05, 0.5), 0.0, rng.uniform(0, 99))
        rug = sometimes_photo(rug, rng, 0.5, 0.2, 2.0)
        scene.items.append(box_item(size, foot, rug, solid=False))
    lamps = [p for p in pieces if p.category == 'Lights' and p.elevation_m > 1.2]
    for _ in range(rng.integers(0, 3) if lamps else 0):
        piece = lamps[rng.integers(len(lamps))]
        height = piece.size_m[2]
        if height < z - 1.7:
            spot = rng.uniform(0.3, 0.7, 2) * (x, y)
            hook = np.array([*spot, z - height - 0.01])
            scene.items.append(_item(piece, hook, 0.0, rng))
