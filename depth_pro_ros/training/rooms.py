"""Renders pictures of random furnished rooms with exact depth and field of view."""

import functools
import json
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from depth_pro_ros.images import write_aside, write_npz, write_png
from depth_pro_ros.training import furniture
from depth_pro_ros.training.camera_view import find_view, plausible
from depth_pro_ros.training.layout import furnish
from depth_pro_ros.training.scene import Scene
from depth_pro_ros.training.sensor import photograph
from depth_pro_ros.training.shell import build_shell
from depth_pro_ros.training.street import build_street
from depth_pro_ros.training.surfaces import load_surfaces

VIEWS_PER_ROOM = 6
STREET_SHARE = 0.05
FRAME_PX = 384
SUPERSAMPLE = 4 / 3
INDEX = 'frames.json'


@dataclass(frozen=True)
class Frame:
    """A picture with its truth; rendered ones are stretched to a square.

    rgb: (H, W, 3) uint8. depth_m: (H, W) float16 along the optical axis, NaN where unknown.
    fov_deg: horizontal. exact: whether depth is true everywhere and up to its edges, as rendered
    depth is; measured depth is believed less.
    """

    rgb: np.ndarray
    depth_m: np.ndarray
    fov_deg: float
    exact: bool = True


def build_room(seed: int, held_out: bool = False) -> tuple[Scene, np.random.Generator]:
    """Return the place that belongs to a seed, and the generator that its views go on with.

    held_out: furnish with the tenth of the catalogue that training rooms never contain.
    """
    rng = np.random.default_rng([seed, int(held_out)])
    pieces = furniture.catalogue(held_out)
    if rng.random() < STREET_SHARE:
        return build_street(pieces, rng), rng
    scene = build_shell(rng)
    furnish(scene, pieces, rng)
    return scene, rng


def render_room(
    renderer, seed: int, held_out: bool = False, size_px: int = FRAME_PX
) -> list[Frame]:
    """Render up to VIEWS_PER_ROOM views of the room of a seed."""
    scene, rng = build_room(seed, held_out)
    views = [view for _ in range(VIEWS_PER_ROOM) if (view := find_view(scene, rng))]
    if views:
        renderer.prepare(scene)
    frames = []
    for view in views:
        linear, depth_m = renderer.render(view)
        step = np.linspace(0, renderer.size_px - 1, size_px).round().astype(int)
        depth_m = depth_m[np.ix_(step, step)]
        if plausible(depth_m, view.nearest_m):
            size = (size_px, size_px)
            rgb = photograph(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), rng)
            frames.append(Frame(rgb, depth_m.astype(np.float16), view.fov_deg))
    return frames


def rooms(
    count: int,
    output: Path,
    preview: Path | None = None,
    seed: int = 0,
    held_out: bool = False,
    workers: int | None = None,
    size_px: int = FRAME_PX,
    surfaces: Path | None = None,
) -> None:
    """Render `count` frames into `output`: 000000.jpg, 000000.npz and frames.json.

    preview: also write a contact sheet there. surfaces: a folder of photographs, which then cover
    a part of all surfaces. The same seed and photographs give the same frames.
    Raises FurnitureMissingError where no furniture is installed; ValueError or ImageError where the
    photographs cannot be used; ModuleNotFoundError or RuntimeError where nothing can be drawn.
    """
    furniture.catalogue()
    photos = load_surfaces(surfaces, held_out) if surfaces else None
    os.environ.setdefault('LP_NUM_THREADS', '1')
    jobs = ((seed * 1_000_003 + i, held_out, size_px) for i in range(10 * count))
    with closing(render_jobs(jobs, workers or os.cpu_count() or 1, (size_px, photos))) as rendered:
        frames = (frame for views in rendered for frame in views)
        wanted = tqdm(islice(frames, count), total=count, unit='frame')
        surfaces_used = 0 if photos is None else len(photos)
        write_frames(
            output, wanted, {'seed': seed, 'held_out': held_out, 'surfaces': surfaces_used}
        )
    if preview:
        write_preview(output, preview)


def render_jobs(
    jobs: Iterator[tuple[int, bool, int]], workers: int, renderer: tuple[int, Any]
) -> Generator[list[Frame], None, None]:
    """Give the frames of one job after the other, while the next ones are rendered.

    renderer: size in pixels and photographs. A worker that dies ends it with RuntimeError.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, _start_worker, renderer) as pool:
        # no more than are worked on: whoever stops early waits for those
        waiting = deque(pool.submit(_render_job, job) for job in islice(jobs, workers))
        while waiting:
            frames = waiting.popleft().result()
            waiting.extend(pool.submit(_render_job, job) for job in islice(jobs, 1))
            yield frames


def write_frames(folder: Path, frames: Iterable[Frame], origin: dict[str, Any]) -> None:
    """Write frames as 000000.jpg and .npz (compressed float16 depth), and their list as JSON.

    Where the frames end in an error or an interruption, a folder without a list gets one of what
    there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    try:
        for number, frame in enumerate(frames):
            entries.append(write_frame(folder / f'{number:06d}', frame))
    except BaseException:
        if entries and not (folder / INDEX).exists():
            write_index(folder, entries, origin)
        raise
    write_index(folder, entries, origin)


def write_frame(path: Path, frame: Frame) -> dict[str, Any]:
    """Write `path`.jpg and `path`.npz, and give the frame's entry in the list."""
    jpeg = cv2.imencode('.jpg', frame.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    write_aside(path.with_suffix('.jpg'), lambda aside: aside.write_bytes(jpeg))
    write_npz(path.with_suffix('.npz'), depth_m=frame.depth_m, fov_deg=frame.fov_deg)
    return {'name': path.name, 'fov_deg': round(frame.fov_deg, 4)}


def read_entry(path: Path) -> dict[str, Any] | None:
    """Give the entry of a frame that is written already."""
    if not path.with_suffix('.npz').is_file():
        return None
    with np.load(path.with_suffix('.npz')) as stored:
        return {'name': path.name, 'fov_deg': round(float(stored['fov_deg']), 4)}


def write_index(folder: Path, entries: list[dict[str, Any]], origin: dict[str, Any]) -> None:
    """Write where the frames come from and their list, which makes the folder data."""
    text = json.dumps({**origin, 'frames': entries})
    write_aside(folder / INDEX, lambda aside: aside.write_text(text))


def write_preview(folder: Path, path: Path, rows: int = 6, columns: int = 4) -> None:
    """Write a PNG of pictures, each beside its inverse depth."""
    pictures = sorted(folder.glob('*.jpg'))[: rows * columns]
    cells = []
    for picture in pictures:
        rgb = cv2.resize(np.asarray(cv2.imread(str(picture))), (192, 192))
        with np.load(picture.with_suffix('.npz')) as stored:
            depth_m = cv2.resize(stored['depth_m'].astype(np.float32), (192, 192))
        near = np.clip(255 * 0.5 / depth_m, 0, 255).astype(np.uint8)
        cells.append(np.hstack([rgb, cv2.applyColorMap(near, cv2.COLORMAP_TURBO)]))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    sheet = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    write_png(path, np.vstack(sheet)[..., ::-1])


_renderer_arguments: tuple[int, np.ndarray | None]


def _start_worker(size_px: int, photos: np.ndarray | None) -> None:
    """Keep what the renderer is made of, for the first job: its errors are told, not those here."""
    global _renderer_arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    cv2.setNumThreads(1)
    _renderer_arguments = round(size_px * SUPERSAMPLE), photos


@functools.cache
def _renderer() -> Any:
    from depth_pro_ros.training.renderer import Renderer

    return Renderer(*_renderer_arguments)


def _render_job(job: tuple[int, bool, int]) -> list[Frame]:
    return render_room(_renderer(), *job)
