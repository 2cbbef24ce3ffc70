"""The benchmark of the report commands, on a handful of records."""

from __future__ import annotations

import pytest

from benchmarks import leaderboard, reports


def test_every_command_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reports, "RECORDS", 3)
    monkeypatch.setattr(reports, "PAIRS", 20)
    monkeypatch.setattr(reports, "ROUNDS", 1)
    reports.main()
    out = capsys.readouterr().out
    assert all(name in out for name in reports.COMMANDS)


def test_a_leaderboard_is_measured(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leaderboard, "RECORDS", 3)
    leaderboard.main()
    out = capfd.readouterr().out
    assert "3 results in 1 table" in out
    assert all(name in out for name in leaderboard.GOALS)
