"""Weights that come by themselves: from a server that answers, breaks off, lies, or is away."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from harness.data import assets, fetching
from harness.data.assets import Asset
from harness.data.settings import read_settings
from harness.engine.progress import Progress
from harness.interfaces.errors import Unavailable, UserError
from tests.conftest import CommandLine

CONTENT = bytes(range(256)) * 12_000


@dataclass
class Server:
    """Serves one file; what it was asked for, and how it misbehaves."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    content: bytes = CONTENT
    cut: int = 0
    """Answers that break off in the middle."""
    resumes: bool = True
    silent: bool = False
    heard: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(f"{self.path} {wanted}".strip())
            state.heard.set()
            if state.silent:
                self.rfile.read(1)  # Until the other end leaves.
                return
            start = int(wanted[6:-1]) if wanted and state.resumes else 0
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cut:
                state.cut -= 1
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.connection.close()
            else:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()


@pytest.fixture(autouse=True)
def asset(server: Server, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """A published file on that server, and a network."""
    published = Asset(
        name="tiny-net",
        filename="tiny-net-0123.pth",
        url=f"{server.url}/tiny-net-0123.pth",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
        used_by="tests",
    )
    monkeypatch.setattr(assets, "ASSETS", {**assets.ASSETS, "tiny-net": published})
    monkeypatch.delenv("UWT_EVAL_OFFLINE")
    fetching._answers.cache_clear()
    return published


def needed() -> Path:
    with assets.fetched_on_need(Progress(Console(quiet=True))):
        return assets.needed("tiny-net")


def test_it_comes_when_it_is_needed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    path = needed()
    assert path.read_bytes() == CONTENT
    assert assets.locate("tiny-net") == path
    said = capsys.readouterr().err
    for fact in ("weights 'tiny-net'", "3 MB", server.url, "MIT", "--offline"):
        assert fact in said
    assert needed() == path
    assert server.asked == ["/tiny-net-0123.pth"]


def test_looking_for_a_file_fetches_nothing(server: Server) -> None:
    for look in (assets.locate, assets.needed):
        with pytest.raises(Unavailable, match="assets fetch tiny-net"):
            look("tiny-net")
    assert server.asked == []


def test_offline_is_as_without_a_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "1")
    with pytest.raises(Unavailable, match="missing, run"):
        needed()
    assert server.asked == []


def test_it_goes_on_where_it_was_cut(server: Server) -> None:
    server.cut = 2
    assert needed().read_bytes() == CONTENT
    starts = [int(asked.partition("bytes=")[2][:-1] or 0) for asked in server.asked]
    assert 0 == starts[0] < starts[1] < starts[2] < len(CONTENT)


def test_a_later_command_goes_on(server: Server) -> None:
    server.cut = 99
    with pytest.raises(Unavailable, match="missing: http://127"):
        needed()
    assert len(server.asked) < 20
    server.cut = 0
    assert needed().read_bytes() == CONTENT
    assert "bytes=" in server.asked[-1]


def test_a_silent_server_is_left_within_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PATIENCE", 0.2)
    server.silent = True
    with pytest.raises(Unavailable, match="timed out"):
        needed()
    assert server.heard.wait(60)
    assert len(server.asked) == 1


def test_a_mirror_is_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_MIRROR", "weights")
    with pytest.raises(UserError, match="UWT_EVAL_MIRROR='weights'"):
        needed()


def test_a_server_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def away(address: object, *_: object) -> None:
        asked.append(address)
        raise OSError("no route")

    monkeypatch.setattr("socket.create_connection", away)
    for file in ("alexnet.pth", "vgg16.pth"):
        why = fetching.reached(f"https://weights.invalid/{file}")
        assert why == "weights.invalid cannot be reached (no route)"
    assert asked == [("weights.invalid", 443)]


def test_a_server_that_begins_anew_is_understood(server: Server) -> None:
    server.cut, server.resumes = 1, False
    assert needed().read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"another file", CONTENT[:-1] + b"x", CONTENT * 2])
def test_another_file_is_never_kept(server: Server, content: bytes) -> None:
    server.content = content
    with pytest.raises(Unavailable, match="not the published file"):
        needed()
    folder = read_settings().cache / "assets"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


def test_a_file_of_the_users_is_not_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asset: Asset
) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(b"another file")
    monkeypatch.setenv(asset.variable, str(own))
    with pytest.raises(Unavailable, match="is not the published file"):
        needed()
    assert server.asked == []


def test_a_mirror_takes_the_place_of_the_publisher(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_MIRROR", f"{server.url}/our/copies/")
    assert needed().read_bytes() == CONTENT
    assert server.asked == ["/our/copies/tiny-net-0123.pth"]


def test_without_a_network_a_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    monkeypatch.setenv("UWT_EVAL_MIRROR", "http://127.0.0.1:9")
    run = ("run", "imagenet-recon", "--model", "webp", "--limit", "2", "--out", tmp_path / "runs")
    done = uwt_eval(*run)
    assert done.code == 0
    assert "127.0.0.1 cannot be reached" in done.out.replace("\n", " ")
    assert "fetching" not in done.err
