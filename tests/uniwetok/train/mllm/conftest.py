"""What tests of the multimodal training share."""

from __future__ import annotations

import time

import pytest


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file was written lately."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**12)
