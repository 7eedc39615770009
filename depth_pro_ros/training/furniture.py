"""Furniture of true size, read from Debian's `sweethome3d-furniture` (CC-BY-3.0 and CC0).

Meshes come out in metres, z up, standing on z = 0, centred in x and y, front towards -y.
"""

import os
import re
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from depth_pro_ros.cache import cache_folder

FURNITURE_FOLDER = Path('/usr/share/sweethome3d/furniture')
MAX_OBJ_BYTES = 600_000
MAX_LAYERS = 12
TEXTURE_PX = 128

VERTEX = np.dtype(
    [('position', 'f4', 3), ('normal', 'f4', 3), ('uv', 'f4', 2), ('rgb_layer', 'u1', 4)]
)


class FurnitureMissingError(RuntimeError):
    """The furniture package is not installed; the message says what to install."""


def in_held_out_tenth(name: str) -> bool:
    """Whether what has this name is among the tenth that only held-out rooms contain."""
    return zlib.crc32(name.encode()) % 10 == 0


@dataclass(frozen=True)
class Furniture:
    """One catalogue entry: what it is, where its model lies, its true size (x, y, z) in metres."""

    name: str
    category: str
    archive: str
    model: str
    size_m: tuple[float, float, float]
    elevation_m: float
    shelf_m: float | None
    rotation: tuple[float, ...]

    @property
    def held_out(self) -> bool:
        """Whether the piece is kept out of training rooms (a tenth of the catalogue)."""
        return in_held_out_tenth(self.model)


@dataclass(frozen=True)
class Mesh:
    """A triangle soup (N, VERTEX) and the textures (L, 128, 128, 3) uint8 its layers refer to."""

    vertices: np.ndarray
    textures: np.ndarray


def catalogue(held_out: bool | None = None) -> list[Furniture]:
    """Return the installed furniture, or only its training (False) or held-out (True) part.

    Raises FurnitureMissingError, naming the Debian package, where nothing is installed.
    """
    archives = sorted(_folder().glob('*.sh3f'))
    if not archives:
        raise FurnitureMissingError(
            f'no furniture in {_folder()}: apt-get install sweethome3d-furniture'
        )
    pieces = [piece for archive in archives for piece in _read_catalogue(str(archive))]
    return [p for p in pieces if held_out is None or p.held_out == held_out]


def _folder() -> Path:
    return Path(os.environ.get('SWEETHOME3D_FURNITURE', FURNITURE_FOLDER))


@lru_cache(maxsize=16)
def _read_catalogue(archive: str) -> tuple[Furniture, ...]:
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    with zipfile.ZipFile(archive) as bundle:
        text = bundle.read('PluginFurnitureCatalog.properties').decode('latin1')
        sizes = {info.filename: info.file_size for info in bundle.infolist()}
    for key, number, value in re.findall(r'^(\w+)#(\d+)=(.*)$', text, re.MULTILINE):
        entries[int(number)][key] = value.strip()
    pieces = []
    for entry in entries.values():
        model = entry.get('model', '').lstrip('/')
        if not 0 < sizes.get(model, 0) <= MAX_OBJ_BYTES:
            continue
        shelf = entry.get('dropOnTopElevation')
        width, depth, height = (float(entry[k]) / 100 for k in ('width', 'depth', 'height'))
        pieces.append(
            Furniture(
                name=entry['name'].lower(),
                category=entry['category'],
                archive=archive,
                model=model,
                size_m=(width, depth, height),
                elevation_m=float(entry.get('elevation', 0)) / 100,
                shelf_m=float(shelf) / 100 if shelf else None,
                rotation=tuple(float(v) for v in entry.get('modelRotation', '').split()),
            )
        )
    return tuple(pieces)


def load_mesh(piece: Furniture) -> Mesh:
    """Read a piece's OBJ model, scaled to its true size; parsed meshes are cached on disk."""
    folder = cache_folder() / 'furniture'
    path = folder / f'{zlib.crc32((piece.archive + piece.model).encode()):08x}.npz'
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        mesh = _parse_mesh(piece)
        unfinished = path.with_suffix(f'.{os.getpid()}.npz')
        np.savez(unfinished, vertices=mesh.vertices, textures=mesh.textures)
        unfinished.rename(path)
    with np.load(path) as stored:
        return Mesh(stored['vertices'], stored['textures'])


def _parse_mesh(piece: Furniture) -> Mesh:
    with zipfile.ZipFile(piece.archive) as bundle:
        folder = piece.model.rpartition('/')[0]
        names = set(bundle.namelist())
        lines = bundle.read(piece.model).decode('latin1').splitlines()
        libraries = [f'{folder}/{x.split(None, 1)[1].strip()}' for x in lines if x[:6] == 'mtllib']
        materials = _read_materials(
            [bundle.read(n).decode('latin1') for n in libraries if n in names]
        )
        textures: list[np.ndarray] = []
        layer_of: dict[str, int] = {}
        for material in materials.values():
            file = f'{folder}/{material["texture"]}' if 'texture' in material else ''
            if file in names and file not in layer_of and len(textures) < MAX_LAYERS:
                pixels = np.frombuffer(bundle.read(file), np.uint8)
                picture = cv2.imdecode(pixels, cv2.IMREAD_COLOR)
                if picture is not None:
                    layer_of[file] = len(textures) + 1
                    size = (TEXTURE_PX, TEXTURE_PX)
                    rgb = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[::-1, :, ::-1]
                    textures.append(rgb)
            material['layer'] = layer_of.get(file, 0)
    vertices = _read_faces(lines, materials, 0.5)
    if not len(vertices):  # a piece all of glass stands as an opaque one
        vertices = _read_faces(lines, materials, 0.0)
    vertices['position'] = _true_size(vertices['position'], piece)
    vertices['normal'] = _fill_normals(_z_up(_rotate(vertices['normal'], piece)), vertices)
    stack = np.stack(textures) if textures else np.zeros((0, TEXTURE_PX, TEXTURE_PX, 3), np.uint8)
    return Mesh(vertices, stack)


def _read_materials(texts: list[str]) -> dict[str, dict]:
    """Return name -> {colour, texture, opacity} of MTL files."""
    materials: dict[str, dict] = defaultdict(lambda: {'rgb': (0.7, 0.7, 0.7), 'opacity': 1.0})
    current = materials['']
    for line in '\n'.join(texts).splitlines():
        key, _, value = line.strip().partition(' ')
        if key == 'newmtl':
            current = materials[value.strip()]
        elif key == 'Kd':
            current['rgb'] = tuple(float(v) for v in value.split()[:3])
        elif key == 'd':
            current['opacity'] = float(value.split()[-1])
        elif key == 'map_Kd':
            current['texture'] = value.split(None)[-1].replace('\\', '/')
    return materials


def _read_faces(lines: list[str], materials: dict[str, dict], min_opacity: float) -> np.ndarray:
    """Triangulate an OBJ file's faces into a triangle soup, without those more transparent."""
    points: list[tuple[float, ...]] = []
    normals: list[tuple[float, ...]] = [(0.0, 0.0, 0.0)]
    uvs: list[tuple[float, ...]] = [(0.0, 0.0)]
    corners, looks = [], []
    material = materials['']
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == 'v':
            points.append(tuple(map(float, words[1:4])))
        elif words[0] == 'vn':
            normals.append(tuple(map(float, words[1:4])))
        elif words[0] == 'vt':
            uvs.append(tuple(map(float, words[1:3])))
        elif words[0] == 'usemtl':
            material = materials[line.split(None, 1)[1].strip() if len(words) > 1 else '']
        elif words[0] == 'f' and material['opacity'] >= min_opacity:
            face = [_corner(w, len(points), len(uvs), len(normals)) for w in words[1:]]
            rgb = (1.0, 1.0, 1.0) if material.get('layer') else material['rgb']
            look = (*(min(255, int(255 * v)) for v in rgb), material.get('layer', 0))
            for second, third in zip(face[1:-1], face[2:], strict=True):
                corners += [face[0], second, third]
                looks += [look] * 3
    index = np.array(corners, int).reshape(-1, 3)
    soup = np.zeros(len(index), VERTEX)
    soup['position'] = np.array(points, np.float32)[index[:, 0]]
    soup['uv'] = np.array(uvs, np.float32)[index[:, 1]]
    soup['normal'] = np.array(normals, np.float32)[index[:, 2]]
    soup['rgb_layer'] = np.array(looks, np.uint8).reshape(-1, 4)
    return soup


def _corner(word: str, points: int, uvs: int, normals: int) -> tuple[int, int, int]:
    """Resolve 'v/vt/vn', 1-based or negative from the end, to indices.

    Row 0 of the texture coordinates and normals stands for 'none given'.
    """
    v, vt, vn = (int(text or 0) for text in (word.split('/') + ['', ''])[:3])
    return (
        v - 1 if v > 0 else v + points,
        vt if vt >= 0 else vt + uvs,
        vn if vn >= 0 else vn + normals,
    )


def _rotate(xyz: np.ndarray, piece: Furniture) -> np.ndarray:
    if len(piece.rotation) != 9:
        return xyz
    return xyz @ np.array(piece.rotation, np.float32).reshape(3, 3).T


def _z_up(xyz: np.ndarray) -> np.ndarray:
    return np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], axis=1)


def _true_size(positions: np.ndarray, piece: Furniture) -> np.ndarray:
    xyz = _z_up(_rotate(positions, piece))
    low, high = xyz.min(0), xyz.max(0)
    xyz = (xyz - (low + high) / 2) / np.maximum(high - low, 1e-6) * np.array(piece.size_m)
    xyz[:, 2] += piece.size_m[2] / 2
    return xyz


def _fill_normals(normals: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Give corners without a normal the normal of their triangle."""
    a, b, c = (vertices['position'][i::3] for i in range(3))
    flat = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    normals = np.where(np.abs(normals).sum(1, keepdims=True) > 0.1, normals, flat)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
