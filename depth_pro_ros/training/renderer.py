"""Renders scenes without a display: moderngl through EGL (llvmpipe where there is no GPU)."""

import functools
from typing import Any

import moderngl
import numpy as np

from depth_pro_ros.training import shaders
from depth_pro_ros.training.camera_view import View, look
from depth_pro_ros.training.furniture import TEXTURE_PX, Furniture, Mesh, load_mesh
from depth_pro_ros.training.scene import Item, Scene
from depth_pro_ros.training.surfaces import SURFACE_PX

SHADOW_PX = 768
MAX_SCENE_LAYERS = 64
MAX_LIGHTS = 4
FORMAT = '3f 3f 2f 4f1'
ATTRIBUTES = ('position', 'normal', 'uv', 'rgb_layer')


class Renderer:
    """Draws a scene as linear RGB and depth. One per process: it owns an OpenGL context.

    photos: (N, 128, 128, 3) uint8, of which surfaces may take one; None: patterns only. Raises
    RuntimeError where OpenGL cannot be had.
    """

    def __init__(self, size_px: int, photos: np.ndarray | None = None) -> None:
        self.size_px = size_px
        try:
            # moderngl types the backend's name as a dict
            self.context = moderngl.create_context(
                standalone=True,
                backend='egl',  # type: ignore[arg-type]
            )
        except Exception as error:  # a plain one, whatever is missing
            raise RuntimeError(
                f'no OpenGL through EGL ({error}): apt-get install libegl1 libgl1 libgl1-mesa-dri'
            ) from error
        self.context.gc_mode = 'auto'  # or what a scene uploads stays when the scene is gone
        self.context.enable(moderngl.DEPTH_TEST)
        self.program: Any = self.context.program(shaders.VERTEX, shaders.FRAGMENT)
        self.shadow_program: Any = self.context.program(
            shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT
        )
        shape = (size_px, size_px)
        self.colour = self.context.texture(shape, 4, dtype='f2')
        self.depth = self.context.texture(shape, 1, dtype='f4')
        buffer = self.context.depth_renderbuffer(shape)
        self.target = self.context.framebuffer([self.colour, self.depth], buffer)
        self.shadow_map = self.context.depth_texture((SHADOW_PX, SHADOW_PX))
        self.shadow_map.compare_func = '<='
        self.shadow_target = self.context.framebuffer(depth_attachment=self.shadow_map)
        self.layers = self.context.texture_array((TEXTURE_PX, TEXTURE_PX, MAX_SCENE_LAYERS), 3)
        self.photo_count = 0 if photos is None else len(photos)
        pixels = np.zeros((1, SURFACE_PX, SURFACE_PX, 3), np.uint8) if photos is None else photos
        upwards = np.ascontiguousarray(pixels[:, ::-1])
        self.photos = self.context.texture_array((SURFACE_PX, SURFACE_PX, len(pixels)), 3, upwards)
        _smooth(self.photos)
        self._furniture = functools.lru_cache(maxsize=700)(self._load_furniture)

    def prepare(self, scene: Scene) -> None:
        """Upload a scene and draw its shadow map; `render` then draws views of it."""
        self.scene, self.drawables, layer = scene, [], 0
        for item in scene.items:
            arrays, textures = self._upload(item.shape)
            if layer + len(textures) > MAX_SCENE_LAYERS:
                textures = textures[:0]
            for i, pixels in enumerate(textures):
                viewport = (0, 0, layer + i, TEXTURE_PX, TEXTURE_PX, 1)
                self.layers.write(np.ascontiguousarray(pixels), viewport)
            base = layer if len(textures) else -1
            self.drawables.append((item, arrays, base))
            layer += len(textures)
        _smooth(self.layers)
        self._draw_shadow()

    def render(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return linear RGB (S, S, 3) float32 and depth along the optical axis (S, S) in metres."""
        program, scene = self.program, self.scene
        self.target.use()
        self.target.clear()
        lights = scene.lights[:MAX_LIGHTS]
        positions, powers = np.zeros((MAX_LIGHTS, 4), 'f4'), np.zeros((MAX_LIGHTS, 3), 'f4')
        positions[: len(lights)] = [light.position for light in lights]
        powers[: len(lights)] = [light.rgb for light in lights]
        _set_matrix(program, 'view_projection', view.view_projection())
        _set_matrix(program, 'shadow_projection', self.shadow_projection)
        program['eye'] = tuple(view.position_m)
        program['forward'] = tuple(view.axes[2])
        program['room'] = tuple(scene.size_m)
        program['light_position'].write(positions.tobytes())
        program['light_rgb'].write(powers.tobytes())
        program['ambient'] = scene.ambient_rgb
        program['photo_count'] = self.photo_count
        program['shadow_map'], program['layers'], program['photos'] = 0, 1, 2
        self.shadow_map.use(0)
        self.layers.use(1)
        self.photos.use(2)
        for item, arrays, base in self.drawables:
            self._draw(item, arrays[0], base)
        shape = (self.size_px, self.size_px)
        rgb = np.frombuffer(self.colour.read(), np.float16).reshape(*shape, 4)[::-1, :, :3]
        depth_m = np.frombuffer(self.depth.read(), np.float32).reshape(shape)[::-1]
        return rgb.astype(np.float32), depth_m.copy()

    def _draw(self, item: Item, array: moderngl.VertexArray, base: int) -> None:
        program, material = self.program, item.material
        _set_matrix(program, 'model', _scaled(item))
        program['layer_base'] = base
        program['pattern'] = material.pattern
        program['rgb_a'], program['rgb_b'] = material.rgb_a, material.rgb_b
        program['period'], program['gloss'] = material.period_m, material.gloss
        program['seed'], program['photo_m'] = material.seed, material.photo_m
        array.render()

    def _draw_shadow(self) -> None:
        light = np.array(self.scene.lights[0].position)
        centre = self.scene.size_m / 2
        if light[3] > 0.5:
            view = look(light[:3], 0.0, -np.pi / 2 + 1e-3, 0.0, 140.0, 1.0)
            self.shadow_projection = view.view_projection(0.1, 30.0)
        else:
            self.shadow_projection = _orthographic(
                light[:3], centre, float(np.linalg.norm(centre)) + 0.5
            )
        self.shadow_target.use()
        self.shadow_target.clear()
        _set_matrix(self.shadow_program, 'view_projection', self.shadow_projection)
        for item, arrays, _ in self.drawables:
            if item.material.pattern != shaders.SKY_PATTERN:
                _set_matrix(self.shadow_program, 'model', _scaled(item))
                arrays[1].render()

    def _upload(self, shape: Furniture | Mesh) -> tuple[tuple, np.ndarray]:
        return self._furniture(shape) if isinstance(shape, Furniture) else self._arrays(shape)

    def _load_furniture(self, piece: Furniture) -> tuple[tuple, np.ndarray]:
        return self._arrays(load_mesh(piece))

    def _arrays(self, mesh: Mesh) -> tuple[tuple, np.ndarray]:
        buffer = self.context.buffer(mesh.vertices.tobytes())
        seen = self.context.vertex_array(self.program, [(buffer, FORMAT, *ATTRIBUTES)])
        shadow = self.context.vertex_array(self.shadow_program, [(buffer, '3f 24x', 'position')])
        return (seen, shadow), mesh.textures


def _smooth(textures: moderngl.TextureArray) -> None:
    textures.build_mipmaps()
    textures.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)


def _set_matrix(program: Any, name: str, matrix: np.ndarray) -> None:
    program[name].write(np.ascontiguousarray(matrix.T, np.float32).tobytes())


def _scaled(item: Item) -> np.ndarray:
    """The model matrix; a piece of furniture may stand a little larger or smaller than its mesh."""
    matrix = item.matrix
    if isinstance(item.shape, Furniture):
        matrix = matrix @ np.diag([*(item.size_m / np.array(item.shape.size_m)), 1.0])
    return matrix


def _orthographic(towards_light: np.ndarray, centre: np.ndarray, radius_m: float) -> np.ndarray:
    side = np.cross(towards_light, (0.0, 0.0, 1.0))
    side /= np.linalg.norm(side)
    up = np.cross(side, -towards_light)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([side, up, -towards_light]) / radius_m
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return matrix
