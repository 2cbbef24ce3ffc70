"""The benchmark of listing, on a handful of files."""

from __future__ import annotations

import pytest

from benchmarks import listing


def test_both_states_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "FILES", 5)
    listing.main()
    out = capsys.readouterr().out
    assert "5 files" in out
    assert all(state in out for state in ("cold", "warm"))
