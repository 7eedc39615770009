"""Weights by name, and the download, from a real server on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import threading
import urllib.request

import pytest

from depth_pro_ros.network import weights
from depth_pro_ros.network.weights import Download, WeightsError, find_weights

CONTENT = bytes(range(256)) * 20_000


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, with ranges if `ranges`, and cuts the first `cuts` answers short.

    tells: the length. shift: of a range from the one that was asked for.
    """

    ranges, cuts, portal = True, 0, False
    tells, shift, fault = True, 0, ''

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.requests: list[str | None] = []

    def handle_error(self, request, client_address):
        pass  # a client that hangs up


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get('Range')
        self.server.requests.append(wanted)
        if self.server.fault == 'silent':
            threading.Event().wait(1.0)
        elif self.server.fault == 'garbled':
            self.wfile.write(b'no HTTP\r\n')
        if self.server.fault:
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
            self.send_response(206)
            first = start + self.server.shift
            self.send_header('Content-Range', f'bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}')
        else:
            self.send_response(200)
        body = CONTENT[start:] if not self.server.portal else b'<html>log in</html>'
        if self.server.tells:
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


def test_a_file_of_another_size_is_not_taken_and_one_that_only_lacks_its_name_is(server, tmp_path):
    path = tmp_path / 'depth_pro_ros' / 'depth_pro.pt'
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    path.with_suffix('.part').write_bytes(CONTENT)  # left by a kill
    assert find_weights('depth_pro').read_bytes() == CONTENT
    assert not server.requests and not path.with_suffix('.part').exists()


def test_a_second_node_waits_for_the_download_of_the_first(server, tmp_path):
    path = tmp_path / 'depth_pro_ros' / 'depth_pro.pt'
    path.parent.mkdir()
    second = threading.Thread(target=find_weights, args=('depth_pro',))
    with path.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second.start()
        second.join(0.3)
        assert second.is_alive()
        path.write_bytes(CONTENT)
    second.join(20)
    assert not second.is_alive() and not server.requests


@pytest.mark.parametrize(('ranges', 'tells'), [(True, True), (False, True), (True, False)])
def test_a_download_that_broke_off_is_resumed(server, ranges, tells):
    server.cuts, server.ranges, server.tells = 1, ranges, tells
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


def test_another_range_than_was_asked_for_is_refused(server):
    server.shift = 1
    with pytest.raises(WeightsError, match='the server offers'):
        find_weights('depth_pro')


@pytest.mark.parametrize('fault', ['silent', 'garbled'])
def test_a_server_that_does_not_answer_is_said(server, monkeypatch, fault):
    server.fault, urlopen = fault, urllib.request.urlopen

    def hasty(request, timeout):
        return urlopen(request, timeout=timeout / 100)

    monkeypatch.setattr(urllib.request, 'urlopen', hasty)
    with pytest.raises(WeightsError, match='the download failed'):
        find_weights('depth_pro')


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
