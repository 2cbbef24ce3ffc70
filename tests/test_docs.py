"""The examples in the documents run just as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.interfaces import registry
from tests.conftest import CommandLine

REPOSITORY = Path(__file__).parent.parent
BLOCK = re.compile(r"```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [match["text"] for match in BLOCK.finditer(text) if match["language"] == language]


@pytest.fixture
def fresh_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is forgotten after the test."""
    for name in ("TASKS", "MODELS", "METRICS", "EXTRACTORS", "FAMILIES"):
        kept = getattr(registry, name)
        monkeypatch.setattr(kept, "_registered", dict(kept._registered))


PLUGINS = {
    text.splitlines()[0].removeprefix("# "): text for text in blocks("CONTRIBUTING.md", "python")
}
COMMANDS = [
    line
    for text in blocks("CONTRIBUTING.md", "")
    for line in text.splitlines()
    if line.startswith("uwt-eval run")
]


def test_every_example_has_its_command() -> None:
    assert len(PLUGINS) == len(COMMANDS) == 4


@pytest.mark.usefixtures("fresh_registries")
@pytest.mark.parametrize("command", COMMANDS)
def test_contributing_example_runs(
    command: str,
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in PLUGINS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    words = shlex.split(command.replace("path/to/faces", str(photo_folder)))[1:]
    if "sums" not in words and "--data" not in words:
        words += ["--data", str(photo_folder)]
    result = uwt_eval(*words, "--json")
    assert result.code == 0, result.err
    for record in result.records:
        measured = [cell["value"] for cell in record["metrics"].values()]
        assert any(value is not None for value in measured)
    if "sums" in words:
        assert result.records[0]["metrics"]["accuracy"]["value"] == pytest.approx(0.91)


def test_readme_library_example_runs() -> None:
    (example,) = blocks("README.md", "python")
    scope: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert tuple(scope["restored"].shape) == (2, 3, 250, 300)  # type: ignore[attr-defined]
    assert tuple(scope["codes"].shape) == (2, 128, 8, 10)  # type: ignore[attr-defined]


def test_ci_calls_the_readme_test_command() -> None:
    command = "pip install nox && nox -s tests"
    assert command in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert command in script


def test_linked_files_exist() -> None:
    for document in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
