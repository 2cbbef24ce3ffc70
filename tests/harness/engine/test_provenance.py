"""Where a result came from."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from harness.engine import provenance


def test_time_is_utc_to_the_second() -> None:
    now = datetime.fromisoformat(provenance.now())
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)
    assert now.microsecond == 0


def test_versions_of_what_decides_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert provenance.package_versions() == {
        "numpy": version("numpy"),
        "no-such-package-anywhere": "absent",
    }


def test_command_is_kept_without_the_folder_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/somebody/bin/uwt-eval", "run", "imagenet-recon"])
    facts = provenance.collect("cpu")
    assert facts["command"] == ["uwt-eval", "run", "imagenet-recon"]
    assert facts["machine"]["device"] == "cpu"
    assert facts["machine"]["threads"] >= 1


def test_code_without_git_has_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_git", lambda *_: None)
    assert provenance.code_revision() == {}


def test_changed_code_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rev-parse": "0123abc", "status": " M harness/engine/work.py"}
    monkeypatch.setattr(provenance, "_git", lambda *arguments: answers[arguments[0]])
    assert provenance.code_revision() == {"commit": "0123abc", "dirty": True}
