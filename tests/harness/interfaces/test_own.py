"""Answers that our code alone decides: kept while it stays, computed anew where it changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.interfaces import own
from harness.interfaces.own import OwnFile, own_files, remembered


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own, "others", lambda: False)
    return tmp_path / "cache"


def answer(value: object, name: str = "list") -> object:
    """What a new process is told where computing gives `value`."""
    own._kept.cache_clear()
    return remembered(name, lambda: value)


def test_our_files_are_code_protocols_and_weights_of_every_package() -> None:
    found = {Path(file.path).relative_to(own.HOME).as_posix() for file in own_files()}
    assert {"harness/cli.py", "uwt_eval/main.py", "tasks/protocols/wetok.toml"} <= found
    assert "uniwetok/nano/weights/model.safetensors" in found
    assert not [name for name in found if "__pycache__" in name]


def test_an_answer_is_computed_once() -> None:
    assert answer({"a": [1, (2, 3)]}) == {"a": [1, [2, 3]]}
    assert answer("other") == {"a": [1, [2, 3]]}
    assert answer("other", "show") == "other"
    assert answer(None, "list") == {"a": [1, [2, 3]]}, "one answer does not push out another"


def test_a_changed_file_of_ours_makes_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [OwnFile("harness/cli.py", 10, 1), OwnFile("harness/a.py", 10, 1)]
    monkeypatch.setattr(own, "own_files", lambda: iter(files))
    assert answer(1) == answer(2) == 1
    for changed in (OwnFile("harness/a.py", 10, 2), OwnFile("harness/b.py", 10, 2)):
        files[1] = changed
        assert answer(changed.path) == changed.path
    files.pop()
    assert answer("fewer") == "fewer"


def test_what_others_offer_is_asked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(1) == 1
    monkeypatch.setattr(own, "others", lambda: True)
    assert answer(2) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": 1}', "\0"])
def test_a_damaged_file_costs_time(cache: Path, content: str) -> None:
    answer(1)
    (cache / "answers.json").write_text(content)
    assert answer(2) == 2
    assert answer(3) == 2


@pytest.mark.parametrize("damage", ["edited", "fifo", "folder"])
def test_what_we_did_not_write_is_not_believed(cache: Path, damage: str) -> None:
    answer({"webp": "a codec"})
    path = cache / "answers.json"
    if damage == "edited":
        path.write_text(path.read_text().replace("a codec", "a parrot"))
    else:
        path.unlink()
        os.mkfifo(path) if damage == "fifo" else path.mkdir()
    assert answer({"webp": "a codec"}) == {"webp": "a codec"}
    assert not list(cache.glob(".answers*"))


def test_a_folder_that_cannot_be_written_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / "file" / "cache"))
    assert [answer(1), answer(2)] == [1, 2]


@pytest.mark.parametrize(
    "words", ["--help", "list", "list --json", "show imagenet-recon", "show adm", "show table16"]
)
def test_the_second_answer_is_the_first_and_imports_nothing(tmp_path: Path, words: str) -> None:
    code = (
        "import sys; from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print(*sorted({'numpy', 'PIL', 'pydantic_settings', 'harness.interfaces.types'} "
        "& set(sys.modules)), file=sys.stderr)"
    )
    environment = os.environ | {"UWT_EVAL_CACHE": str(tmp_path / "cache"), "COLUMNS": "100"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code, *words.split()],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        for _ in range(2)
    )
    assert second.stdout == first.stdout
    assert second.stderr.strip() == ""
