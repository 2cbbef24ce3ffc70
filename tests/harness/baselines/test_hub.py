"""What a repository's own card says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.baselines import hub as hub_module
from harness.baselines.hub import Source, source


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\ntags:\n- a\n---\n# Model\nlicense: none\n", "mit"),
        ("---\ntags: [a]\nlicense: 'apache-2.0'\n---\n", "apache-2.0"),
        ("# Model\n\nlicense: gpl\n", ""),
        ("", ""),
    ],
)
def test_licence(text: str, licence: str, tmp_path: Path) -> None:
    assert Source("owner/name", tmp_path, "abc").licence == ""
    (tmp_path / "README.md").write_text(text)
    assert Source("owner/name", tmp_path, "abc").licence == licence


FILES = (
    "README.md", "config.json", "model_index.json", "evil.py", "all-in-one.safetensors",
    "vae/config.json", "vae/w.safetensors", "vae/w.fp16.safetensors", "vae/w.bin",
    "unet/config.json", "unet/w.bin", "unet/w.fp16.bin",
)  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository on a hub that hands out what is asked for, into a folder of its commit."""
    from huggingface_hub.utils import filter_repo_objects

    hub_module._fetch.cache_clear()
    there, here = tmp_path / "there", tmp_path / "snapshots" / "c0ffee"
    for name in FILES:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(name)

    def download(
        name: str, *, allow_patterns: list[str], ignore_patterns: list[str], **_: object
    ) -> str:
        assert name == "owner/name"
        wanted = filter_repo_objects(
            FILES, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        for file in wanted:
            (here / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / file, here / file)
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return here


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_texts_come_first_and_weights_when_they_are_asked_for(hub: Path) -> None:
    found = source("owner/name")
    assert found.revision == "c0ffee"
    texts = {name for name in FILES if name.endswith((".json", ".md"))}
    assert names(hub) == texts
    found.digest("vae", "unet", beside=["model_index.json"])
    assert names(hub) == texts | {"vae/w.safetensors", "unet/w.bin"}
    source("owner/name").digest()
    assert names(hub) == texts | {"vae/w.safetensors", "unet/w.bin", "all-in-one.safetensors"}


def test_variants_and_other_forms_move_no_identity(tmp_path: Path, hub: Path) -> None:
    found = source("owner/name")
    before = found.digest("vae")
    (hub / "vae" / "w.fp16.safetensors").write_text("variant")
    (hub / "vae" / "w.bin").write_text("another form")
    assert found.digest("vae") == before
    (hub / "vae" / "config.json").write_text("changed")
    assert source("owner/name").digest("vae") == before  # The hub's text is fetched again.
    local = Source("name", hub, "")
    assert local.digest("vae") == before
    (hub / "vae" / "config.json").write_text("changed")
    assert local.digest("vae") != before
