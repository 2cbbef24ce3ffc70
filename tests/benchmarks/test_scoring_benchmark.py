"""The benchmark of scoring files, in one round."""

from __future__ import annotations

import pytest

from benchmarks import scoring


@pytest.mark.slow
def test_both_benchmarks_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring, "ROUNDS", 1)
    scoring.main()
    out = capsys.readouterr().out
    assert "geneval, 2,212 pictures" in out
    assert "dpg, 4,260 pictures" in out
