from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.judges.endpoint import Endpoint, serving


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An endpoint that answers 'fine', known to this process's settings."""
    with serving(Endpoint()) as served:
        monkeypatch.setenv("UWT_EVAL_JUDGE_URL", served.url)
        monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", "sk-secret-9876xyz")
        monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / "cache"))
        yield served
