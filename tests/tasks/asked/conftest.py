from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.registry import MODELS
from tests.conftest import CommandLine, CommandResult
from tests.harness.judges.endpoint import Endpoint, serving
from tests.tasks.painter import Painter

TOKENS = ("Yes", "yes", " Yes", "No", "one", "two", "2", " three", "four", "5")
ROWS = [
    {
        "prompt": "two red kites above a lake",
        "atom_count": 4,
        "vqa_list": [
            ["How many kites are in the image?", "two"],
            ["Are the kites red?", "Yes"],
            ["Are there any kites in the image?", "Yes"],
            ["Are the kites above the lake?", "Yes"],
        ],
        "skills": ["count", "attribute", "object", "position"],
    },
    {
        "prompt": "a goat pushing five carts",
        "atom_count": 4,
        "vqa_list": [
            ["Are there any goats in the image?", "Yes"],
            ["Is the goat pushing the carts?", "Yes"],
            ["How many carts are in the image?", "five"],
        ],
        "skills": ["object", "verb", "count"],
    },
    {
        "prompt": "three glass owls",
        "atom_count": 3,
        "vqa_list": [
            ["How many owls are in the image?", "three"],
            ["Are the owls glass?", "Yes"],
            ["Are there any owls in the image?", "Yes"],
        ],
        "skills": ["count", "attribute", "object"],
    },
]
"""In the layout of `geneval2_data.jsonl`, with prompts of our own."""


def likely(text: str, images: list[bytes]) -> dict[str, float]:
    """What a judge gives its first tokens: nothing but a matter of what it is shown."""
    drawn = [zlib.crc32(f"{text}{token}".encode() + b"".join(images)) + 1 for token in TOKENS]
    return {token: each / sum(drawn) for token, each in zip(TOKENS, drawn, strict=True)}


@dataclass
class Bench:
    """A local judge, a model that paints, and where runs go."""

    endpoint: Endpoint
    data: Path
    runs: Path
    uwt_eval: CommandLine
    painted: list[str] = field(default_factory=list)

    def asks(self, number: int, words: str) -> bool:
        """Whether a request's text has these words."""
        return words in self.endpoint.bodies[number]["messages"][0]["content"][0]["text"]

    def run(self, task: str, *more: object) -> CommandResult:
        """`uwt-eval run` of the painter."""
        return self.uwt_eval(
            "run", task, "--model", "painter", "--device", "cpu", "--out", self.runs, "-q",
            "--json", *more,
        )  # fmt: skip

    def record(self, task: str, *more: object) -> tuple[dict[str, Any], Path]:
        """The record of a run that worked, and its directory."""
        result = self.run(task, *more)
        assert result.code == 0, result.err
        (record,) = result.records
        return record, self.runs / record["run_id"]


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uwt_eval: CommandLine
) -> Iterator[Bench]:
    monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", "sk-secret-9876xyz")
    data = tmp_path / "geneval2_data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    with serving(Endpoint()) as endpoint:
        endpoint.probabilities = likely
        monkeypatch.setenv("UWT_EVAL_JUDGE_URL", endpoint.url)
        found = Bench(endpoint, data, tmp_path / "runs", uwt_eval)
        painter = functools.partial(Painter, found.painted)
        monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "painter": painter})
        yield found
