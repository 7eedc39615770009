"""Weights by name, and the download, from a real server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading

import pytest

from depth_pro_ros.network import weights
from depth_pro_ros.network.weights import Download, WeightsError, find_weights

CONTENT = bytes(range(256)) * 20_000


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, with ranges if `ranges`, and cuts the first `cuts` answers short."""

    ranges, cuts, portal = True, 0, False

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.requests: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get('Range')
        self.server.requests.append(wanted)
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}')
        else:
            self.send_response(200)
        body = CONTENT[start:] if not self.server.portal else b'<html>log in</html>'
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Give a server that stands in for the official one, and an empty cache."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha256(CONTENT).hexdigest()
    url = f'http://127.0.0.1:{server.server_port}/depth_pro.pt'
    download = Download(url, len(CONTENT), digest, 'research only')
    monkeypatch.setitem(weights.DOWNLOADS, 'depth_pro', download)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    yield server
    server.shutdown()
    server.server_close()


def test_the_first_use_downloads_and_the_second_does_not(server, capsys, tmp_path):
    path = find_weights('depth_pro')
    assert path == tmp_path / 'depth_pro_ros' / 'depth_pro.pt'
    assert path.read_bytes() == CONTENT
    captured = capsys.readouterr().err
    assert 'research only' in captured and '100%' in captured
    assert find_weights('depth_pro') == path
    assert len(server.requests) == 1


@pytest.mark.parametrize('ranges', [True, False])
def test_a_download_that_broke_off_is_resumed(server, ranges):
    server.cuts, server.ranges = 1, ranges
    with pytest.raises(WeightsError, match='Run again to go on where it stopped'):
        find_weights('depth_pro')
    assert find_weights('depth_pro').read_bytes() == CONTENT
    assert server.requests == ['bytes=0-', f'bytes={len(CONTENT) // 2}-']


def test_a_login_page_does_not_spoil_what_is_there(server):
    server.cuts = 1
    with pytest.raises(WeightsError):
        find_weights('depth_pro')
    server.portal, server.ranges = True, False
    with pytest.raises(WeightsError, match='the server offers 19 bytes'):
        find_weights('depth_pro')
    server.portal, server.ranges = False, True
    assert find_weights('depth_pro').read_bytes() == CONTENT
    assert server.requests[-1] == f'bytes={len(CONTENT) // 2}-'


def test_a_wrong_file_is_never_kept(server, monkeypatch, tmp_path):
    real = weights.DOWNLOADS['depth_pro']
    wrong = Download(real.url, real.size, '0' * 64, real.licence)
    monkeypatch.setitem(weights.DOWNLOADS, 'depth_pro', wrong)
    with pytest.raises(WeightsError, match='did not arrive intact: sha256'):
        find_weights('depth_pro')
    assert not list((tmp_path / 'depth_pro_ros').glob('depth_pro.p*'))


def test_without_network_the_message_says_what_to_do(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match='put it at') as error:
        find_weights('depth_pro')
    assert str(tmp_path / 'depth_pro_ros' / 'depth_pro.pt') in str(error.value)
    assert weights.DOWNLOADS['depth_pro'].url in str(error.value)


def test_an_unwritable_cache_is_said(monkeypatch, tmp_path):
    (tmp_path / 'depth_pro_ros').write_text('a file, not a folder')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.raises(WeightsError, match='depth_pro'):
        find_weights('depth_pro')


def test_the_official_file_is_the_published_one():
    official = weights.DOWNLOADS['depth_pro']
    assert official.size == 1_904_446_787
    assert official.sha256.startswith('3eb35ca68168') and official.sha256.endswith('685c0ce')
    assert 'research only' in official.licence


def test_a_path_and_an_unknown_name(tmp_path):
    path = tmp_path / 'mine.pt'
    path.touch()
    assert find_weights(str(path)) == path
    with pytest.raises(WeightsError, match='small, depth_pro'):
        find_weights('smal')
