"""The pinhole view that a frame is rendered with, and where a camera plausibly stands."""

from dataclasses import dataclass, replace

import numpy as np

from depth_pro_ros.training.scene import Scene

PROBE = 14
MARGIN_M = 0.2


@dataclass(frozen=True)
class View:
    """A camera: position (m), axes right / down / forward as rows, tangents of half the fields.

    nearest_m: little of the picture may be nearer than this.
    """

    position_m: np.ndarray
    axes: np.ndarray
    tan_half_x: float
    tan_half_y: float
    nearest_m: float = 0.5

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view."""
        return float(np.degrees(2 * np.arctan(self.tan_half_x)))

    def rays(self, width: int, height: int) -> np.ndarray:
        """The directions (H, W, 3) of pixels in the world, as long as depth 1 is far away."""
        u, v = (
            ((np.arange(count) + 0.5) / count * 2 - 1) * tangent
            for count, tangent in ((width, self.tan_half_x), (height, self.tan_half_y))
        )
        pixels = np.stack([*np.meshgrid(u, v), np.ones((height, width))], axis=-1)
        return (pixels.reshape(-1, 3) @ self.axes).reshape(pixels.shape)

    def view_projection(self, near_m: float = 0.05, far_m: float = 1000.0) -> np.ndarray:
        """The (4, 4) OpenGL matrix from world to clip space."""
        view = np.eye(4)
        view[:3, :3] = self.axes * np.array([[1], [-1], [-1]])  # OpenGL: y up, looking along -z
        view[:3, 3] = -view[:3, :3] @ self.position_m
        projection = np.zeros((4, 4))
        projection[0, 0], projection[1, 1] = 1 / self.tan_half_x, 1 / self.tan_half_y
        projection[2, 2] = -(far_m + near_m) / (far_m - near_m)
        projection[2, 3] = -2 * far_m * near_m / (far_m - near_m)
        projection[3, 2] = -1
        return projection @ view


def look(position_m, yaw: float, pitch: float, roll: float, fov_deg: float, aspect: float) -> View:
    """Build a view from angles in radians (pitch up positive) and width / height."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward = np.array([cy * cp, sy * cp, sp])
    right = np.array([sy, -cy, 0.0])
    down = np.cross(forward, right)
    cr, sr = np.cos(roll), np.sin(roll)
    axes = np.stack([cr * right + sr * down, cr * down - sr * right, forward])
    tan_half = np.tan(np.radians(fov_deg) / 2)
    return View(np.asarray(position_m, float), axes, tan_half, tan_half / aspect)


def sample_view(scene: Scene, rng: np.random.Generator) -> View:
    """Draw a view: from a robot's or a person's height, across the room, at a thing or close up.

    Most stand as high as a person holds one, which tells a small network the scale where nothing
    else does; the others keep it from reading all distances off the floor.
    """
    x, y, z = scene.size_m
    fov_deg = np.clip(
        rng.choice([rng.normal(64, 8), rng.uniform(35, 110)], p=[0.55, 0.45]), 35, 110
    )
    height = min(rng.choice([rng.uniform(0.15, 1.8), rng.uniform(1.0, 1.8)], p=[0.3, 0.7]), z - 0.4)
    spot = rng.uniform(MARGIN_M, np.array([x, y]) - MARGIN_M)
    target = np.array([*(rng.uniform(0.15, 0.85, 2) * (x, y)), rng.uniform(0.2, z / 2)])
    nearest_m, lowest = 0.5, -0.9
    solid = [item for item in scene.items if item.solid and scene.surrounds(item)]
    small = [item for item in solid if max(item.size_m) < 0.6 and min(item.size_m[:2]) > 0.03]
    on_tops = [item for item in small if 0.3 < item.position_m[2] < 1.2]
    kind = rng.choice(['across', 'thing', 'close'], p=[0.54, 0.4, 0.06])
    if kind == 'thing' and solid:  # close to one thing, as over a desk, down to arm's length
        target = solid[rng.integers(len(solid))].position_m + (0, 0, rng.uniform(0.2, 0.8))
        spot = target[:2] + _bearing(rng, 0.5, 2.6) * max(1.0, min(x, y) / 6)
    elif kind == 'close' and on_tops:  # what stands on a table, as a gripper's camera sees it
        thing = on_tops[rng.integers(len(on_tops))]
        target = thing.position_m + (0, 0, thing.size_m[2] / 2)
        spot = target[:2] + _bearing(rng, 0.15, 0.6)
        height = target[2] + rng.uniform(0.08, 0.5)
        nearest_m, lowest = 0.2, -1.3
    spot = np.clip(spot, MARGIN_M, (x - MARGIN_M, y - MARGIN_M))
    across = target[:2] - spot
    reach = max(float(np.linalg.norm(across)), nearest_m)
    yaw = np.arctan2(across[1], across[0]) + rng.normal(0, 0.12)
    pitch = np.clip(np.arctan2(target[2] - height, reach) + rng.normal(0, 0.08), lowest, 0.3)
    aspect = rng.choice([4 / 3, 16 / 9, 1.5, 1.0, 0.75], p=[0.5, 0.25, 0.1, 0.1, 0.05])
    roll = rng.normal(0, 0.03)
    view = look((*spot, height), yaw, pitch, roll, float(fov_deg), float(aspect))
    return replace(view, nearest_m=nearest_m)


def _bearing(rng: np.random.Generator, least_m: float, most_m: float) -> np.ndarray:
    """A horizontal step (2,) in any direction, its length log-uniform."""
    angle, reach = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(*np.log((least_m, most_m))))
    return reach * np.array([np.cos(angle), np.sin(angle)])


def probe_depth(scene: Scene, view: View) -> np.ndarray:
    """Depth (PROBE, PROBE) in metres against the boxes around everything: a cheap look ahead."""
    rays = view.rays(PROBE, PROBE).reshape(-1, 3)
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    room = np.where(rays > 0, scene.size_m - view.position_m, -view.position_m) / rays
    depth = room.min(axis=1)
    bounds = [item.bounds() for item in scene.items if item.solid]
    if bounds:
        low, high = (np.stack(b) for b in zip(*bounds, strict=True))  # (N, 3)
        a = (low - view.position_m)[:, None] / rays
        b = (high - view.position_m)[:, None] / rays  # (N, P*P, 3)
        enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
        hit = np.where((leave > 0) & (enter < leave), np.maximum(enter, 0), np.inf)
        depth = np.minimum(depth, hit.min(axis=0))
    return depth.reshape(PROBE, PROBE)


def plausible(depth_m: np.ndarray, nearest_m: float) -> bool:
    """Whether a picture with this depth is worth taking: not blocked, not one flat wall."""
    near, middle = np.quantile(depth_m, [0.03, 0.5])
    crowded = (depth_m < nearest_m).mean() > 0.15
    flat = np.log(depth_m.clip(0.05)).std() < 0.15
    return bool(
        near > nearest_m / 2 and 1.2 * nearest_m < middle < 40.0 and not crowded and not flat
    )


def find_view(scene: Scene, rng: np.random.Generator, tries: int = 40) -> View | None:
    """Draw views until the look ahead finds one plausible; None if the room offers none."""
    for _ in range(tries):
        view = sample_view(scene, rng)
        if plausible(probe_depth(scene, view), view.nearest_m):
            return view
    return None
