"""Our names on a machine that has other things: the working directory, other distributions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import harness.cli
from tests.strangers import hostile, install
from uwt_eval import __version__, names
from uwt_eval.main import main

SCRIPT = Path(sys.executable).parent / "uwt-eval"


def start(*command: object, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_version_is_the_distributions() -> None:
    assert __version__ == metadata.version("uwt-eval")


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, photo_folder: Path) -> None:
    folder = hostile(tmp_path / "here")
    listed = start(SCRIPT, "list", "tasks", "--json", cwd=folder)
    assert "imagenet-recon" in json.loads(listed.stdout)["tasks"], listed.stderr
    (folder / "uwt_eval" / "__init__.py").unlink()
    (folder / "uwt_eval").rmdir()
    for name in ("json", "pickle"):  # Python itself looks there before we are asked.
        (folder / f"{name}.py").unlink()
    words = ("run", "imagenet-recon", "-m", "webp", "--data", photo_folder, "--metrics", "psnr")
    ran = start(sys.executable, "-m", "uwt_eval", *words, "--out", tmp_path / "runs", cwd=folder)
    assert ran.returncode == 0, ran.stderr


def test_another_distributions_package_is_named_at_the_start(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "tasks", "", {"tasks/__init__.py": ""})
    (site / "reports").mkdir()
    (site / "reports" / "__init__.py").touch()
    failed = start(SCRIPT, "list", cwd=tmp_path, path=str(site))
    second, first = failed.stderr.splitlines()
    assert failed.returncode == 2
    assert first.startswith(f"error: {site / 'reports' / '__init__.py'} is not uwt-eval's file, ")
    assert "no distribution lists it" in first
    tasks = site / "tasks" / "__init__.py"
    assert f"{tasks} is not uwt-eval's file, it belongs to tasks 1.0; " in second
    assert "pip uninstall tasks" in second


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder into which ours and another distribution were installed, one over the other."""
    site = install(tmp_path, "uwt-eval", "", {"tasks/__init__.py": "ours", "tasks/a.py": "a"})
    digests = [(path, names._digest(site / path)) for path in ("tasks/__init__.py", "tasks/a.py")]
    record = "".join(f"{path},sha256={digest},1\n" for path, digest in digests)
    (site / "uwt_eval-1.0.dist-info" / "RECORD").write_text(record + "uwt_eval/x.py,,\n")
    monkeypatch.setattr(
        names,
        "distributions",
        lambda **words: metadata.distributions(path=[str(site)], **words),
    )
    return site


def test_a_file_that_another_distribution_wrote_over(installed: Path) -> None:
    assert names.damaged() == []
    (finding,) = names.check()
    assert finding.level == "ok"
    install(installed, "tasks-runner", "", {"tasks/__init__.py": "ours"})
    (finding,) = names.check()
    assert finding.level == "warning"
    assert "tasks-runner 1.0 lists it too" in finding.text
    (installed / "tasks" / "__init__.py").write_text("theirs")
    (installed / "tasks" / "a.py").unlink()
    unreadable = install(installed, "a-bad-one", "", {}) / "a_bad_one-1.0.dist-info" / "RECORD"
    unreadable.write_bytes(b"\xff")
    replaced, gone = names.check()
    assert "tasks/__init__.py is not uwt-eval's file, it belongs to tasks-runner" in replaced.text
    assert "pip uninstall tasks-runner" in replaced.fix
    assert "tasks/a.py is missing from uwt-eval" in gone.text


def test_a_failed_import_is_told_by_its_cause(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command_line() -> None:
        try:
            raise ImportError("cannot import name 'PROTOCOLS' from 'tasks'")
        except ImportError:
            sys.exit(2)

    monkeypatch.setattr(harness.cli, "main", command_line)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == ""
    (installed / "tasks" / "__init__.py").write_text("theirs")
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "tasks/__init__.py is not uwt-eval's file" in capsys.readouterr().err
