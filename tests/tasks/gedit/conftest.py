from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.judges.endpoint import Endpoint, serving
from tests.tasks.gedit.small import reply, write_data, write_edits, write_prompts, write_protocol


@dataclass
class Bench:
    """Everything that a run needs."""

    endpoint: Endpoint
    data: Path
    edits: Path
    protocol: Path
    runs: Path

    def arguments(self, task: str = "gedit-en") -> tuple[object, ...]:
        """Of `uwt-eval`."""
        options = {
            "--images": self.edits,
            "--data": self.data,
            "--protocol": self.protocol,
            "--out": self.runs,
        }
        return ("run", task, *(part for pair in options.items() for part in pair), "-q", "--json")


def scores_of(text: str, images: list[bytes]) -> str:
    """A judge whose opinion depends on what it is shown, and on nothing else."""
    drawn = zlib.crc32(text.encode() + b"".join(images))
    return reply(drawn % 11, drawn // 11 % 11)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Small data, mirrored edits, our prompts and a local judge."""
    monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", "sk-secret-9876xyz")
    monkeypatch.syspath_prepend(str(write_prompts(tmp_path / "packages")))
    # Where another test has imported the real one, that would be found.
    monkeypatch.delitem(sys.modules, "lmms_eval", raising=False)
    data = write_data(tmp_path / "data")
    edits = write_edits(tmp_path / "edits", data)
    protocol = write_protocol(tmp_path / "small.toml")
    with serving(Endpoint(scores_of)) as endpoint:
        monkeypatch.setenv("UWT_EVAL_JUDGE_URL", endpoint.url)
        yield Bench(endpoint, data, edits, protocol, tmp_path / "runs")
