"""Prompt files: the small one, the published ones, and the vocabulary."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from harness.data import assets
from harness.data.digests import sha256_file
from tasks.geneval.prompts import OBJECTS, PROMPTS, SMALL_FILE, TASKS, open_prompts, read_prompts
from tasks.geneval.task import GENEVAL

OBJECT_NAMES = "608f6a0e5c8ca1c7a92b818430141fe268c85b7930b50f4160f1d65893b5bacd"
"""SHA-256 of the published evaluation/object_names.txt."""


def test_objects_are_the_published_names() -> None:
    text = "".join(f"{name}\n" for name in OBJECTS)
    assert hashlib.sha256(text.encode()).hexdigest() == OBJECT_NAMES


def test_small_file_has_every_task() -> None:
    assert Counter(prompt.tag for prompt in read_prompts(SMALL_FILE)) == dict.fromkeys(TASKS, 2)


def test_published_files_have_the_benchmarks_counts() -> None:
    assert PROMPTS == 553
    for name in ("geneval-prompts", "geneval-prompts-long"):
        try:
            path = assets.locate(name)
        except assets.Unavailable:
            pytest.skip(f"{name} is not at hand")
        prompts = read_prompts(path)
        assert Counter(prompt.tag for prompt in prompts) == TASKS


def test_assets_folder_replaces_the_small_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "geneval_metadata.jsonl").write_bytes(SMALL_FILE.read_bytes())
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path))
    file = open_prompts(None, "geneval-prompts")
    assert "is not the published file" in file.notice
    published = assets.ASSETS["geneval-prompts"]
    changed = {"sha256": sha256_file(SMALL_FILE)}
    fields = {name: getattr(published, name) for name in published.__slots__} | changed
    monkeypatch.setitem(assets.ASSETS, "geneval-prompts", assets.Asset(**fields))
    file = open_prompts(None, "geneval-prompts")
    assert (file.label, file.notice, len(file.prompts)) == ("geneval-prompts", "", 12)


def test_samples_are_whole_prompts() -> None:
    data = GENEVAL.open(None, GENEVAL.protocol("geneval"))
    assert len(data.samples(None)) == 48
    some = [sample.id for sample in data.samples(6)]
    assert some == [
        "00000/0000",
        "00000/0001",
        "00000/0002",
        "00000/0003",
        "00011/0000",
        "00011/0001",
    ]
    assert len({sample.sha256 for sample in data.samples(None)}) == 48
