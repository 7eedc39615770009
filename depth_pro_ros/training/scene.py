"""A furnished room as plain data: placed meshes, lights, and boxes for quick visibility checks.

World frame: x and y on the floor, z up, metres, the room's corner at the origin.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from depth_pro_ros.training.furniture import VERTEX, Furniture, Mesh

PLAIN, PLANKS, TILES, BRICKS, STRIPES, CARPET, POSTER, SKY, FACADE = range(9)


@dataclass(frozen=True)
class Material:
    """A procedural surface: two colours (linear RGB, 0-1) in a pattern of `period_m`.

    photo_m: where the renderer has photographs, one of them of this size, tinted with `rgb_a`,
    takes the place of the pattern; 0: never.
    """

    pattern: int = PLAIN
    rgb_a: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rgb_b: tuple[float, float, float] = (1.0, 1.0, 1.0)
    period_m: float = 0.3
    gloss: float = 0.0
    seed: float = 0.0
    photo_m: float = 0.0


@dataclass(frozen=True)
class Item:
    """A mesh or a piece of furniture at a pose: yaw about z, then translation of its foot."""

    shape: Furniture | Mesh
    material: Material
    size_m: np.ndarray
    position_m: np.ndarray
    yaw: float = 0.0
    solid: bool = True

    @property
    def matrix(self) -> np.ndarray:
        """The (4, 4) model matrix."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        matrix = np.eye(4, dtype=np.float32)
        matrix[:2, :2] = (c, -s), (s, c)
        matrix[:3, 3] = self.position_m
        return matrix

    @property
    def half_footprint_m(self) -> np.ndarray:
        """Half extents (x, y) of the axis-aligned footprint."""
        c, s = abs(np.cos(self.yaw)), abs(np.sin(self.yaw))
        x, y = self.size_m[:2] / 2
        return np.array([c * x + s * y, s * x + c * y])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the axis-aligned box around the item."""
        half = self.half_footprint_m
        low = np.array([*(self.position_m[:2] - half), self.position_m[2]])
        high = np.array([*(self.position_m[:2] + half), self.position_m[2] + self.size_m[2]])
        return low, high


@dataclass(frozen=True)
class Light:
    """A point light (w = 1) or a sun direction (w = 0) with linear RGB power."""

    position: tuple[float, float, float, float]
    rgb: tuple[float, float, float]


@dataclass
class Scene:
    """A room of `size_m` (x, y, z), what stands in it, its lights; lights[0] casts shadows."""

    size_m: np.ndarray
    items: list[Item] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)
    ambient_rgb: tuple[float, float, float] = (0.2, 0.2, 0.2)

    def surrounds(self, item: Item) -> bool:
        """Whether the item's foot is between the walls: the houses of a street are not."""
        foot = item.position_m[:2]
        return bool(np.all(foot > 0) and np.all(foot < self.size_m[:2]))

    def is_free(self, low: np.ndarray, high: np.ndarray, gap_m: float = 0.02) -> bool:
        """Whether the box overlaps no solid item."""
        for item in self.items:
            if item.solid:
                other_low, other_high = item.bounds()
                if np.all(low < other_high - gap_m) and np.all(high > other_low + gap_m):
                    return False
        return True


def quads_mesh(corners_m: ArrayLike) -> Mesh:
    """Turn (N, 4, 3) corners, counter-clockwise from the front, into a flat-shaded mesh.

    Two corners of a quad may be one.
    """
    corners = np.asarray(corners_m, np.float32)
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    order = [0, 1, 2, 0, 2, 3]
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)[order]
    soup = np.zeros(len(corners) * 6, VERTEX)
    soup['position'] = corners[:, order].reshape(-1, 3)
    soup['normal'] = np.repeat(normals, 6, axis=0)
    soup['uv'] = np.tile(uv, (len(corners), 1))
    soup['rgb_layer'] = (255, 255, 255, 0)
    return Mesh(soup, np.zeros((0, 128, 128, 3), np.uint8))


_BOX_FACES = ((0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6), (4, 5, 7, 6), (2, 3, 1, 0))


def box_mesh(size_m: ArrayLike, inward: bool = False) -> Mesh:
    """A box of `size_m` standing on z = 0, centred in x and y; `inward` turns its faces inside."""
    x, y, z = np.asarray(size_m) / 2
    corners = np.array([(i, j, k) for k in (0, 2 * z) for j in (-y, y) for i in (-x, x)])
    faces = corners[np.array(_BOX_FACES)]
    return quads_mesh(faces[:, ::-1] if inward else faces)


def box_item(
    size_m: ArrayLike,
    position_m: ArrayLike,
    material: Material,
    yaw: float = 0.0,
    solid: bool = True,
) -> Item:
    """A box-shaped item whose foot stands at `position_m`."""
    size = np.asarray(size_m, float)
    return Item(box_mesh(size), material, size, np.asarray(position_m, float), yaw, solid)
