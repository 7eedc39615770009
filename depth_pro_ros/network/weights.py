"""Weights by name: what ships, what is downloaded, what is a path."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from email.message import Message
from importlib.resources import files
from pathlib import Path

from tqdm import tqdm

from depth_pro_ros.cache import cache_folder

CHUNK = 1 << 20


class WeightsError(RuntimeError):
    """Weights that are not there; the message says what to run or where to put the file."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A weights file that is fetched on first use."""

    url: str
    size: int
    sha256: str
    licence: str


DOWNLOADS = {
    'depth_pro': Download(
        url='https://ml-site.cdn-apple.com/models/depth-pro/depth_pro.pt',
        size=1_904_446_787,
        sha256='3eb35ca68168ad3d14cb150f8947a4edf85589941661fdb2686259c80685c0ce',
        licence=(
            "The official weights are under Apple's model research licence: for research only, "
            'no product development. This package is Apache-2.0; the weights are not.'
        ),
    )
}
NAMES = ('small', *DOWNLOADS)


def find_weights(weights: str) -> Path:
    """Give the file of `small`, `depth_pro` or a path; `depth_pro` is downloaded on first use.

    Raises WeightsError where there is none: another file is never taken instead.
    """
    if weights == 'small':
        path = Path(str(files('depth_pro_ros') / 'weights' / 'small.safetensors'))
        if not path.is_file():
            raise WeightsError(f'the package is incomplete: {path} is missing; install it again')
        return path
    if weights in DOWNLOADS:
        return downloaded(weights, DOWNLOADS[weights])
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"no weights '{weights}': neither a file nor one of the names {', '.join(NAMES)}"
        )
    return path


def downloaded(name: str, download: Download) -> Path:
    """Give the cached file of a download, fetching what is missing of it."""
    path = cache_folder() / Path(download.url).name
    if path.is_file() and path.stat().st_size == download.size:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix('.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second node waits for the first one's download
            if not (path.is_file() and path.stat().st_size == download.size):
                print(f'depth_pro_ros: {download.licence}', file=sys.stderr)
                fetch(download, path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"weights '{name}' are not here and the download failed ({error}). Run again to go on "
            f'where it stopped, or download {download.url} elsewhere and put it at {path}'
        ) from error
    return path


def fetch(download: Download, path: Path) -> None:
    """Download to `path`, going on after an earlier try; only a verified file gets that name."""
    part = path.with_suffix('.part')
    done = part.stat().st_size if part.exists() else 0
    if done < download.size:
        request = urllib.request.Request(download.url, headers={'Range': f'bytes={done}-'})
        with urllib.request.urlopen(request, timeout=30) as response:
            resumed = response.status == http.client.PARTIAL_CONTENT
            check_answer(response.headers, done if resumed else 0, download.size)
            with (
                part.open('ab' if resumed else 'wb') as file,
                tqdm(
                    desc=path.name,
                    total=download.size,
                    initial=done if resumed else 0,
                    unit='B',
                    unit_scale=True,
                ) as bar,
            ):
                while bar.n < download.size and (chunk := response.read(CHUNK)):
                    file.write(chunk)
                    bar.update(len(chunk))
    if part.stat().st_size < download.size:
        raise OSError(f'the connection ended after {part.stat().st_size} bytes')
    found = sha256(part)
    if found != download.sha256:
        part.unlink()
        raise WeightsError(
            f'{download.url} did not arrive intact: sha256 {found} instead of {download.sha256}. '
            'The bad file was deleted; run again'
        )
    part.replace(path)


def check_answer(headers: Message, start: int, size: int) -> None:
    """Raise OSError where a server answers with something else, such as a login page."""
    length = int(headers.get('Content-Length') or size - start)  # some proxies do not tell
    stretch = headers.get('Content-Range')
    expected = f'bytes {start}-{size - 1}/{size}'
    if length != size - start or (stretch is not None and stretch != expected):
        raise OSError(f'the server offers {length} bytes instead of {size - start}')


def file_stamp(path: Path) -> str:
    """Tell what a file holds now from what it held before it was last written, at once."""
    status = path.stat()
    return f'{status.st_size} bytes, written {status.st_mtime_ns * 1e-9:.6f}'


def sha256(path: Path) -> str:
    """Give a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
