"""Observations in words, failures of an observer, files of a task, observations from elsewhere."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from harness.engine import runner
from harness.engine.observed import score_file
from harness.engine.progress import Progress
from harness.engine.runner import Finished, rescore
from harness.engine.world import World
from harness.interfaces import RunRequest
from harness.interfaces.errors import UserError
from harness.interfaces.registry import EXTRACTORS, METRICS, MODELS, TASKS
from harness.interfaces.types import RunStatus
from tests.conftest import CommandLine
from tests.harness.judged import COLOURS, RIGHT, Colours, Judge, Painter, PerformedColours
from tests.harness.toys import result_of, rows_of


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Offers the task `colours`, its judge, and the model `painter` that lacks no paint."""
    judge = Judge()
    for registry, name, plugin in (
        (TASKS, "colours", Colours()),
        (EXTRACTORS, "judge", lambda settings, device: judge),
        (METRICS, "right", RIGHT),
        (MODELS, "painter", functools.partial(Painter, set())),
    ):
        monkeypatch.setattr(registry, "_registered", {**registry._registered, name: plugin})
    return judge


def run(tmp_path: Path, **changes: object) -> Finished:
    fields = {"task": "colours", "model": "painter", "device": "cpu", "out": tmp_path / "runs"}
    request = RunRequest(**{**fields, **changes})  # type: ignore[arg-type]
    finished = runner.run(request, World(), Progress(Console(quiet=True)))
    assert finished is not None
    return finished


def test_texts_are_kept_beside_numbers(judge: Judge, tmp_path: Path) -> None:
    finished = run(tmp_path)
    rows = rows_of(finished.root)
    assert rows["words"].tolist() == [f"I see {name}" for name in COLOURS]
    assert finished.record.value("right") == 1.0
    (finished.root / "samples.parquet").unlink()
    assert result_of(rescore(finished.root)[0]) == result_of(finished.record)
    assert rows_of(finished.root).equals(rows)


def test_what_cannot_be_observed_is_counted_and_tried_again(judge: Judge, tmp_path: Path) -> None:
    judge.refuses = {"blue"}
    finished = run(tmp_path)
    assert finished.record.failures == {"judge_error": 1}
    assert finished.record.status is RunStatus.INCOMPLETE
    assert finished.first_errors == ("blue: judge_error: refused",)
    rows = rows_of(finished.root)
    assert rows["right"].isna().tolist() == [False, False, True, False, False]
    assert rows["words"]["blue"] == "I see blue", "what was said stays, for people"
    judge.refuses, judge.asked = set(), 0
    again = run(tmp_path)
    assert again.record.n_failed == 0
    assert 0 < judge.asked < len(COLOURS), "only the block of the refusal is judged again"


def test_an_output_that_is_not_there_is_missing(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = functools.partial(Painter, {"green"})
    monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "painter": painter})
    finished = run(tmp_path, max_failures=1)
    assert finished.record.failures == {"missing": 1}
    assert finished.first_errors == ("green: missing: no paint of green",)
    assert finished.record.value("right") == 1.0
    assert finished.record.metrics["right"].n == 4


def test_every_picture_is_kept_in_the_layout_of_the_task(judge: Judge, tmp_path: Path) -> None:
    root = run(tmp_path).root
    files = sorted(path.relative_to(root).as_posix() for path in (root / "images").rglob("*.png"))
    assert files == sorted(f"images/{name}/0.png" for name in COLOURS)
    assert np.asarray(Image.open(root / "images/red/0.png"))[0, 0].tolist() == [255, 0, 0]
    before = (root / "images/red/0.png").read_bytes()
    (root / "images/red/0.png").unlink()
    judge.asked = 0
    run(tmp_path)
    assert (root / "images/red/0.png").read_bytes() == before
    assert judge.asked == 0, "a lost picture is drawn from its code and judged no more"
    assert "red: ok: I see red" in (root / "words.txt").read_text("utf-8")


def test_images_made_elsewhere_take_the_place_of_a_model(judge: Judge, tmp_path: Path) -> None:
    made = run(tmp_path)
    folder = made.root / "images"
    (folder / "white/0.png").unlink()
    (folder / "black/0.png").write_bytes(b"no image")
    found = run(tmp_path, model=f"images:{folder}", max_failures=2)
    assert found.record.failures == {"decode_error": 1, "missing": 1}
    assert found.record.value("right") == 1.0
    assert found.record.model == "images (images made elsewhere)"
    assert found.record.model_digest != made.record.model_digest


@pytest.mark.parametrize(
    ("folder", "message"), [("nowhere", "there is no such folder"), ("empty", "no image is there")]
)
def test_folders_that_hold_no_images(
    folder: str, message: str, judge: Judge, tmp_path: Path, uwt_eval: CommandLine
) -> None:
    (tmp_path / "empty").mkdir()
    result = uwt_eval("run", "colours", "--images", tmp_path / folder, "--out", tmp_path / "runs")
    assert result.code == 2
    assert message in result.err


def observations(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "observed.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def test_observations_from_elsewhere_make_a_run(judge: Judge, tmp_path: Path) -> None:
    rows = [{"name": name, "word": name.replace("blue", "green")} for name in COLOURS]
    path = observations(tmp_path, *rows)
    record, merged, root = score_file("colours", path, out=tmp_path / "runs")
    assert record.value("right") == pytest.approx(0.8)
    assert (record.model, record.dataset, record.n) == ("observed", "words from elsewhere", 5)
    assert merged.file.notice == "judged elsewhere"
    assert (root / "words.txt").read_text("utf-8").splitlines()[2] == "blue: ok: green"
    assert result_of(rescore(root)[0]) == result_of(record)
    outputs = pd.read_parquet(next((root / "outputs").iterdir()))
    assert outputs["payload"].tolist() == [row["word"].encode() for row in rows]


def test_pictures_that_were_observed_are_kept_beside(judge: Judge, tmp_path: Path) -> None:
    pictures = run(tmp_path).root / "images"
    path = observations(tmp_path, {"name": "red", "word": "red"})
    for _ in range(2):
        _, _, root = score_file("colours", path, images=pictures, out=tmp_path / "scored")
        found = root / "images/red/0.png"
        assert found.read_bytes() == (pictures / "red/0.png").read_bytes()


def test_failures_among_observations_are_counted(
    judge: Judge, tmp_path: Path, uwt_eval: CommandLine
) -> None:
    path = observations(tmp_path, {"name": "red", "word": "red"}, {"name": "green"})
    arguments = ("score", "colours", "--observations", path, "--out", tmp_path / "runs")
    result = uwt_eval(*arguments)
    assert result.code == 3
    assert "green: parse_error: no word" in result.out
    assert "judged elsewhere" in result.err
    allowed = uwt_eval(*arguments, "--max-failures", 1, "--label", "poet", "--json")
    assert allowed.code == 0
    (record,) = json.loads(allowed.out)
    assert (record["model"], record["metrics"]["right"]["value"]) == ("poet", 1.0)


def test_a_label_names_one_model_behind_several_files(judge: Judge, tmp_path: Path) -> None:
    found = []
    for name in ("red", "blue"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"name": "red", "word": name}), "utf-8")
        found += [score_file("colours", path, out=tmp_path, label=label) for label in (None, "a")]
    unnamed, named, other_unnamed, other_named = (record for record, _, _ in found)
    assert named.model_digest == other_named.model_digest
    assert unnamed.model_digest != other_unnamed.model_digest
    assert len({root for _, _, root in found}) == 4
    assert (named.value("right"), other_named.value("right")) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("colours", "--observations", "nowhere.jsonl"), "nowhere.jsonl: there is no such file"),
        (("coco-recon", "--observations", "{file}"), "is not scored from a file of observations"),
        (("colours", "coco-recon", "--observations", "{file}"), "name one task"),
        (("colours", "--observations", "{broken}"), "line 1: not JSON"),
        (("colours", "--observations", "{file}", "--images", "nowhere"), "no such folder"),
        (("colours", "--label", "x"), "go with --observations"),
        (("colours",), "is not a run directory"),
    ],
)
def test_bad_requests_to_score(
    arguments: tuple[str, ...],
    message: str,
    judge: Judge,
    tmp_path: Path,
    uwt_eval: CommandLine,
) -> None:
    (tmp_path / "broken.jsonl").write_text("{", "utf-8")
    file = observations(tmp_path, {"name": "red", "word": "red"})
    names = {"{file}": file, "{broken}": tmp_path / "broken.jsonl"}
    result = uwt_eval("score", *(names.get(part, part) for part in arguments))
    assert result.code == 2
    assert message in " ".join(result.err.split())


class Beside(World):
    """One of several processes, whose others are as far as it is, at work on `theirs`."""

    theirs = ""

    def barrier(self) -> None:
        pass

    def broadcast(self, value: Any) -> Any:
        return value or self.theirs


def test_a_task_that_another_program_performs(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uwt_eval: CommandLine
) -> None:
    performed: list[str] = []
    tasks = {**TASKS._registered, "performed-colours": PerformedColours(performed)}
    monkeypatch.setattr(TASKS, "_registered", tasks)
    finished = run(tmp_path, task="performed-colours", limit=3)
    assert performed == ["cpu"]
    assert (finished.record.n, finished.record.value("right")) == (3, 1.0)
    assert result_of(rescore(finished.root)[0]) == result_of(finished.record)
    performed.clear()
    with pytest.raises(UserError, match="unknown metric 'rihgt'"):
        run(tmp_path, task="performed-colours", metrics=("rihgt",))
    assert not performed, "what cannot be scored is not performed either"
    request = RunRequest(task="performed-colours", model="painter", limit=3, out=tmp_path / "more")
    second = Beside(rank=1, size=2)
    with pytest.raises(UserError, match="process 1 would do performed-colours-painter-"):
        runner.run(request, second, Progress(Console(quiet=True)))
    assert not performed
    Beside.theirs = finished.root.name
    assert runner.run(request, second, Progress(Console(quiet=True))) is None
    assert performed.pop() == "cpu"
    assert not request.out.exists(), "the main process writes for all"
    given = ("performed-colours", "--model", "painter", "--limit", 3, "--out", tmp_path / "runs")
    plan = uwt_eval("run", *given, "--dry-run", "--json")
    assert json.loads(plan.out)[0]["directory"] == str(finished.root)
