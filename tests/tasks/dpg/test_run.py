"""DPG-Bench from model to record through the command line, and the exchange with mPLUG."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.interfaces.registry import MODELS
from tasks import PROTOCOLS
from tasks.dpg import mplug_answers
from tests.conftest import CommandLine
from tests.tasks.dpg.test_vqa import Parrot
from tests.tasks.painter import SIDE, Painter


class Judge(Parrot):
    """Says yes where the upper left corner is more red than blue."""

    def reply(self, questions: Any, *, max_new_tokens: int, stop: Any = ()) -> list[str]:
        corners = [each.images[0][0, 0].astype(int) for each in questions]
        return ["Yes." if corner[0] > corner[2] else "no" for corner in corners]


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Offers the models `painter` and `judge`; the prompts that were painted."""
    painted: list[str] = []
    models = {
        **MODELS._registered,
        "painter": functools.partial(Painter, painted),
        "judge": Judge,
    }
    monkeypatch.setattr(MODELS, "_registered", models)
    return painted


@pytest.fixture
def protocol(tmp_path: Path) -> Path:
    """dpg-vlm with the judge."""
    text = (PROTOCOLS / "dpg-vlm.toml").read_text(encoding="utf-8")
    text = text.replace('source = "transformers"', 'source = "plugin"')
    text = text.replace('model = "Qwen/Qwen2.5-VL-7B-Instruct"', 'model = "judge"')
    text = text.replace('kind = "image-text-to-text"\n', "")
    path = tmp_path / "judged.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run(uwt_eval: CommandLine, out: Path, *more: object) -> tuple[dict[str, Any], Path, str]:
    result = uwt_eval("run", "dpg", "--device", "cpu", "--out", out, "--json", *more)
    assert result.code in {0, 3}, result.err
    (record,) = result.records
    return record, out / record["run_id"], result.err.replace("\n", " ")


def corners(root: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(root.glob("images/*/*.png")):
        with Image.open(path) as image:
            found[f"{path.parent.name}/{path.stem}"] = np.asarray(image)[0, 0].astype(int)
    return found


def test_a_run_with_a_judge_then_its_grids(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], protocol: Path
) -> None:
    record, root, err = run(uwt_eval, tmp_path, "--model", "painter", "--protocol", protocol)
    assert "these 2 prompts ship with the program" in err
    assert len(painted) == record["n"] == 8
    red = {sample: corner[0] > corner[2] for sample, corner in corners(root).items()}
    assert 0 < sum(red.values()) < 8
    cells = record["metrics"]
    assert cells["dpg_overall"]["value"] == pytest.approx(100 * sum(red.values()) / 8)
    assert "<h1>painter · DPG-Bench: " in (root / "gallery.html").read_text(encoding="utf-8")
    # The grids, evaluated as pictures made elsewhere, give every number again.
    with Image.open(root / "grids/kitchen.png") as grid:
        assert grid.size == (2 * SIDE, 2 * SIDE)
    again, _, _ = run(uwt_eval, tmp_path, "--images", root / "grids", "--protocol", protocol)
    assert again["metrics"] == cells
    # So do the answers that were written.
    words = ("--questions", root / "questions.jsonl", "--observations", root / "answers.jsonl")
    scored = uwt_eval("score", "dpg", *words, "--protocol", protocol, "--out", tmp_path, "--json")
    assert scored.records[0]["metrics"] == cells


def test_grids_that_are_missing_or_odd(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], protocol: Path
) -> None:
    (tmp_path / "grids").mkdir()
    Image.new("RGB", (31, 32)).save(tmp_path / "grids/kitchen.png")
    result = uwt_eval(
        "run", "dpg", "--images", tmp_path / "grids", "--protocol", protocol,
        "--device", "cpu", "--out", tmp_path, "--json",
    )  # fmt: skip
    (record,) = result.records
    assert record["failures"] == {"decode_error": 4, "missing": 4}
    rows = pd.read_parquet(tmp_path / record["run_id"] / "samples.parquet").set_index("id")
    assert "a grid of four pictures has even sides" in rows.loc["kitchen/0000", "error"]
    assert rows.loc["harbour/0000", "error"].startswith("no image harbour.png")


def test_single_pictures_are_no_grids(
    uwt_eval: CommandLine, tmp_path: Path, protocol: Path
) -> None:
    (tmp_path / "kitchen").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "kitchen/0000.png")
    words = ("--protocol", protocol, "--device", "cpu", "--out", tmp_path / "runs")
    result = uwt_eval("run", "dpg", "--images", tmp_path, *words)
    assert result.code == 2
    assert "none of 1 images, the first of them 'kitchen/0000.png'" in result.err
    assert not (tmp_path / "runs").exists()


def test_exchange_with_the_other_environment(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, root, _ = run(uwt_eval, tmp_path, "--model", "painter")
    assert "docs/dpg.md" in record["metrics"]["dpg_overall"]["status"]
    seen = corners(root)
    asked: list[str] = []

    def pipeline(task: str, model: str, device: str) -> Any:
        assert (task, device) == ("vqa", "cpu")

        def answer(given: dict[str, Any]) -> dict[str, str]:
            asked.append(given["question"])
            if len(asked) == 20:
                raise KeyboardInterrupt
            red, _, blue = given["image"].getpixel((0, 0))
            return {"text": "yes" if red > blue else "no"}

        return answer

    fakes = {name: ModuleType(name) for name in ("modelscope", "modelscope.pipelines",
             "modelscope.utils", "modelscope.utils.constant")}  # fmt: skip
    fakes["modelscope.pipelines"].pipeline = pipeline  # type: ignore[attr-defined]
    tasks = type("Tasks", (), {"visual_question_answering": "vqa"})
    fakes["modelscope.utils.constant"].Tasks = tasks  # type: ignore[attr-defined]
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)
    target = tmp_path / "answers.jsonl"
    monkeypatch.setattr(sys, "argv", ["mplug", str(root), str(target), "--device", "cpu"])
    with pytest.raises(KeyboardInterrupt):
        mplug_answers.main()
    with target.open("a") as file:
        file.write('{"item_id": "kitc')  # The line that was under way.
    mplug_answers.main()
    assert len(asked) == 4 * 15 + 1, "no answer is asked for again"
    scored = uwt_eval(
        "score", "dpg", "--questions", root / "questions.jsonl", "--observations", target,
        "--out", tmp_path, "--label", "painter", "--json",
    )  # fmt: skip
    (result,) = scored.records
    red = [corner[0] > corner[2] for corner in seen.values()]
    assert result["metrics"]["dpg_overall"]["value"] == pytest.approx(100 * sum(red) / 8)
    assert result["model"] == "painter"
    assert "mplug" in result["dataset"]


def test_questions_from_a_csv(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], protocol: Path
) -> None:
    lines = [
        {"item_id": 7, "text": "a <b>bold</b> cat", "proposition_id": 1, "dependency": 0,
         "tuple": "entity - whole (cat)", "question_natural_language": "Is there a cat?"},
        {"item_id": 7, "text": "a <b>bold</b> cat", "proposition_id": 2, "dependency": 3,
         "tuple": "attribute - other (cat, bold)", "question_natural_language": "Is it bold?"},
    ]  # fmt: skip
    path = tmp_path / "mine.csv"
    pd.DataFrame(lines).to_csv(path, index=False)
    words = ("--model", "painter", "--data", path, "--protocol", protocol)
    result = uwt_eval("run", "dpg", *words, "--device", "cpu", "--out", tmp_path / "odd")
    assert result.code == 0
    told = " ".join((result.out + result.err).split())
    assert "1 questions depend on one that is not there (row 3: 2 of '7' on 3)" in told
    painted.clear()
    lines[1]["dependency"] = 1
    pd.DataFrame(lines).to_csv(path, index=False)
    _, root, err = run(uwt_eval, tmp_path, *words)
    assert painted == ["a <b>bold</b> cat"] * 4
    assert "1 prompt, DPG-Bench has 1065" in err
    assert "<b>bold" not in (root / "gallery.html").read_text()
    row = json.loads((root / "questions.jsonl").read_text().splitlines()[0])
    assert (row["item_id"], row["first_row"]) == ("7", True)
