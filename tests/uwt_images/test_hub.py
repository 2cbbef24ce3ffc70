"""Repositories of the hub where it answers, is away, hangs or must not be asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from uwt_images import hub
from uwt_images.hub import HubError, snapshot


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with one repository whose default branch is at one commit."""
    hub._unreachable.cache_clear()
    folder = tmp_path / "cache" / "models--owner--kept"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    (folder / "snapshots" / "c0ffee").mkdir(parents=True)
    (folder / "snapshots" / "c0ffee" / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return folder / "snapshots" / "c0ffee"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that takes connections and never answers, as behind some firewalls."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setenv("UWT_EVAL_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
        yield


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub whose address refuses connections: its port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setenv("UWT_EVAL_OFFLINE", "0")
        yield


@pytest.mark.usefixtures("silent")
def test_a_hub_that_hangs_is_waited_for_once(own_cache: Path) -> None:
    with pytest.raises(HubError, match=r"^owner/none: .*not in the hub's cache .*(answer|reach)"):
        snapshot("owner/none", ["*.json"])
    assert snapshot("owner/kept", ["*.json"]) == own_cache


@pytest.mark.usefixtures("closed")
def test_a_hub_that_is_away(own_cache: Path) -> None:
    with pytest.raises(HubError, match=r"the hub cannot be reached \(Connect") as raised:
        snapshot("owner/none", ["*.json"])
    assert "\n" not in str(raised.value)
    assert snapshot("owner/kept", ["*.json"]) == own_cache


@pytest.mark.parametrize("word", ["1", "true", "Yes", "on"])
def test_nothing_is_asked_offline(
    word: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_OFFLINE", word)
    monkeypatch.setattr(hub, "_unreachable", None)
    assert snapshot("owner/kept", ["*.json"]) == own_cache
    with pytest.raises(HubError, match="cache on this machine, and UWT_EVAL_OFFLINE is set"):
        snapshot("owner/none", ["*.json"])


@pytest.mark.parametrize("name", ["/no/such", "./here", "a/b/c", "no such", "a" * 300])
def test_a_path_is_no_repository(name: str) -> None:
    with pytest.raises(HubError, match="it is no OWNER/NAME of a repository"):
        snapshot(name, ["*.json"])


@pytest.mark.parametrize("seconds", ["-1", "0", "2.5", "abc", "nan"])
def test_seconds_that_are_none_are_one_line(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", seconds)
    with pytest.raises(HubError, match=rf"^HF_HUB_ETAG_TIMEOUT={seconds}: takes whole seconds"):
        snapshot("owner/kept", ["*.json"])
