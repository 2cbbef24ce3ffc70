"""Results of plug-ins belong to their code: an edit of it, or of a module beside it, is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine

PLUGIN = """
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.modules.pop("levels", None)
from harness.interfaces.registry import EXTRACTORS, METRICS, MODELS, TASKS
from harness.interfaces import Code
from harness.interfaces.types import ModelCard
from harness.metrics.scores import SampleMean
from levels import LEVEL
import torch


@MODELS.register("flat")
class Flat:
    card = ModelCard(name="flat")

    def load(self, device):
        pass

    def encode(self, images):
        return [Code(bytes([LEVEL]), *image.shape[1:]) for image in images]

    def decode(self, codes, seeds):
        return torch.stack(
            [torch.full((3, c.height, c.width), c.payload[0] / 127.5 - 1) for c in codes]
        )
"""
OBSERVER = """
from harness.interfaces.registry import EXTRACTORS, METRICS
from harness.metrics.scores import SampleMean


@EXTRACTORS.register("mean-level")
class MeanLevel:
    identity = {"version": 1}

    def __init__(self, settings, device):
        pass

    def observe(self, pairs):
        return {"level": pairs.reconstruction_uint8.mean((1, 2, 3)) + 0}


METRICS.register("level")(SampleMean("level", "mean-level", higher_is_better=True))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "plugins"
    place.mkdir()
    (place / "flat.py").write_text(PLUGIN)
    (place / "levels.py").write_text("LEVEL = 100\n")
    (place / "observer.py").write_text(OBSERVER)
    return place


def level(
    uwt_eval: CommandLine, folder: Path, *more: str, model: str = "flat"
) -> tuple[float, Any]:
    result = uwt_eval(
        "run", "imagenet-recon", "--limit", "4", "--device", "cpu", "--metrics", "level",
        "--plugin", folder / "flat.py", "--plugin", folder / "observer.py", "--model", model,
        "--out", folder.parent / "runs", "--json", *more,
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    return record["metrics"]["level"]["value"], record


def test_an_edited_module_of_a_model_is_another_model(uwt_eval: CommandLine, folder: Path) -> None:
    assert level(uwt_eval, folder)[0] == 100
    (folder / "levels.py").write_text("LEVEL = 200\n")
    value, record = level(uwt_eval, folder)
    assert value == 200
    run = json.loads((folder.parent / "runs" / record["run_id"] / "run.json").read_text())
    assert run["model"]["code_sha256"]
    assert run["extractors"]["mean-level"]["code"]


def test_an_option_that_a_card_forgets_is_another_model(
    uwt_eval: CommandLine, folder: Path
) -> None:
    init = "    def __init__(self, k: int = 0):\n        self.k = k\n\n    def load"
    forgetful = PLUGIN.replace("    def load", init, 1).replace("[LEVEL]", "[LEVEL + self.k]")
    (folder / "flat.py").write_text(forgetful)
    assert [level(uwt_eval, folder, model=f"flat?k={k}")[0] for k in (1, 20)] == [101, 120]


def test_choices_of_a_plug_in_with_a_label_are_told_apart(
    uwt_eval: CommandLine, folder: Path
) -> None:
    init = "    def __init__(self, k: int = 0):\n        self.k = k\n\n    def load"
    labelled = PLUGIN.replace("    def load", init, 1).replace(
        'name="flat"', 'name="flat", label="Flat"'
    )
    (folder / "flat.py").write_text(labelled)
    names = [level(uwt_eval, folder, model=f"flat{k}")[1]["model"] for k in ("", "?k=1", "?k=64")]
    assert names == ["Flat", "Flat?k=1", "Flat?k=64"]


def test_an_edited_extractor_observes_again(uwt_eval: CommandLine, folder: Path) -> None:
    before, first = level(uwt_eval, folder)
    observer = folder / "observer.py"
    observer.write_text(OBSERVER.replace("+ 0", "+ 1"))
    after, second = level(uwt_eval, folder)
    assert after == before + 1
    assert first["run_id"] == second["run_id"]


def test_fresh_computes_what_no_digest_can_know(uwt_eval: CommandLine, folder: Path) -> None:
    hidden = folder.parent / "hidden.txt"
    hidden.write_text("100")
    (folder / "levels.py").write_text(f"LEVEL = int(open({str(hidden)!r}).read())\n")
    assert level(uwt_eval, folder)[0] == 100
    hidden.write_text("200")
    assert level(uwt_eval, folder)[0] == 100
    dry = uwt_eval(
        "run", "imagenet-recon", "--limit", "4", "--metrics", "level", "--model", "flat", "--fresh",
        "--out", folder.parent / "runs", "--json", "--dry-run", "--device", "cpu",
    )  # fmt: skip
    assert dry.records[0]["n_missing"] == 4
    assert level(uwt_eval, folder, "--fresh")[0] == 200
    assert level(uwt_eval, folder)[0] == 200
