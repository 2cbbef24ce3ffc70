"""What the tests here count, printed at the end: the figures of docs/reliability.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.e2e.conftest import provide_weights, stand_ins, weights

__all__ = ["provide_weights", "stand_ins", "weights"]

_COUNTS: dict[str, Counter[str]] = {}


@pytest.fixture
def count() -> Callable[[str, str], None]:
    """Count one outcome of one kind of fault."""

    def add(kind: str, outcome: str) -> None:
        _COUNTS.setdefault(kind, Counter())[outcome] += 1

    return add


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/faults" in item.path.as_posix():
            item.add_marker(pytest.mark.faults)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _COUNTS:
        terminalreporter.section("faults")
    for kind, outcomes in sorted(_COUNTS.items()):
        told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
        terminalreporter.line(f"{kind}: {outcomes.total()} ({told})")
