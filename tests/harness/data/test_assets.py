"""Weight files: found where they lie, believed only with the published digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.data import assets
from harness.data.assets import Asset
from harness.data.settings import Settings
from harness.interfaces.errors import Unavailable, UserError

CONTENT = b"published weights"


@pytest.fixture
def asset(monkeypatch: pytest.MonkeyPatch) -> Asset:
    """A small published file in place of the real ones."""
    small = Asset(
        name="tiny-net",
        filename="tiny-net-0123.pth",
        url="https://weights.invalid/tiny-net-0123.pth",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
        used_by="tests",
    )
    monkeypatch.setattr(assets, "ASSETS", {"tiny-net": small})
    return small


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_missing_file_says_how_to_get_it(asset: Asset) -> None:
    with pytest.raises(Unavailable, match="run `uwt-eval assets fetch tiny-net`") as raised:
        assets.locate("tiny-net")
    assert raised.value.status.startswith("not computed: weights 'tiny-net' missing")


def test_file_named_by_its_variable(
    asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert asset.variable == "UWT_EVAL_ASSET_TINY_NET"
    path = put(tmp_path / "under-any-name.bin")
    monkeypatch.setenv(asset.variable, str(path))
    assert assets.locate("tiny-net") == path


def test_file_in_the_given_folder(
    asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = put(tmp_path / "weights" / asset.filename)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path / "weights"))
    assert assets.locate("tiny-net") == path


def test_file_in_our_own_cache(asset: Asset) -> None:
    path = put(Settings().cache / "assets" / asset.filename)
    assert assets.locate("tiny-net") == path


def test_file_in_the_cache_of_torch_hub(
    asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))
    path = put(tmp_path / "torch-home" / "hub" / "checkpoints" / asset.filename)
    assert assets.locate("tiny-net") == path


def test_variable_wins_over_folder_over_caches(
    asset: Asset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = put(Settings().cache / "assets" / asset.filename)
    assert assets.locate("tiny-net") == cached
    in_folder = put(tmp_path / "weights" / asset.filename)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path / "weights"))
    assert assets.locate("tiny-net") == in_folder
    named = put(tmp_path / "named.pth")
    monkeypatch.setenv(asset.variable, str(named))
    assert assets.locate("tiny-net") == named


def test_wrong_file_is_refused_with_both_digests(asset: Asset) -> None:
    path = put(Settings().cache / "assets" / asset.filename, b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(Unavailable) as raised:
        assets.locate("tiny-net")
    for text in (str(path), found[:12], asset.sha256[:12]):
        assert text in str(raised.value)


def test_fetch_of_a_file_at_hand_downloads_nothing(asset: Asset) -> None:
    path = put(Settings().cache / "assets" / asset.filename)
    assert assets.fetch("tiny-net") == path


def test_fetch_offline_says_where_to_put_the_file(asset: Asset) -> None:
    with pytest.raises(UserError, match="UWT_EVAL_OFFLINE is set") as raised:
        assets.fetch("tiny-net")
    for text in (asset.filename, str(Settings().cache / "assets"), asset.variable):
        assert text in str(raised.value)


def test_failed_download_says_where_to_put_the_file(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UWT_EVAL_OFFLINE")
    monkeypatch.setenv("UWT_EVAL_MIRROR", "http://127.0.0.1:9/weights")
    with pytest.raises(UserError, match="could not be downloaded") as raised:
        assets.fetch("tiny-net")
    for text in ("127.0.0.1:9/weights", asset.filename, asset.variable, "ConnectionError"):
        assert text in str(raised.value)


@pytest.mark.parametrize("use", [assets.locate, assets.fetch])
def test_unknown_asset_suggests(use: object, asset: Asset) -> None:
    with pytest.raises(UserError, match="unknown asset 'tiny-ne': did you mean 'tiny-net'"):
        use("tiny-ne")  # type: ignore[operator]


def test_published_digests_agree_with_the_names_of_the_files() -> None:
    # Publishers put the first eight digits of the SHA-256 into the file name, OpenAI all of them
    # into the address; DINOv2's was taken from projects that pin it.
    weights = {name: each for name, each in assets.ASSETS.items() if each.noun == "weights"}
    assert len(weights) == 8
    for name, published in weights.items():
        digits = published.url if name.startswith("clip") else published.filename
        assert published.sha256[:8] in digits or name == "dinov2"
        assert len(published.sha256) == 64
        assert published.url.endswith(published.filename) or name == "dists"
