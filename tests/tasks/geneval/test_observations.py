"""Scoring files of detections: whole runs, what they leave, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.scoring import asked_for, write_detections
from harness.interfaces import Observations
from harness.interfaces.errors import UserError
from harness.interfaces.types import Status
from tasks.geneval.observations import read_observations
from tasks.geneval.prompts import SMALL_FILE, TASKS, read_prompts
from tasks.geneval.scores import COUNTING, OVERALL
from tasks.geneval.settings import GenEvalSettings
from tasks.geneval.task import GENEVAL
from tests.conftest import CommandLine

SETTINGS = GenEvalSettings.of(GENEVAL.protocol("geneval").settings)
HF_SETTINGS = GenEvalSettings.of(GENEVAL.protocol("geneval-hf").settings)
PROMPTS = [prompt.record for prompt in read_prompts(SMALL_FILE)]


def line(prompt: int, number: int, **more: Any) -> dict[str, Any]:
    metadata = PROMPTS[prompt]
    return {
        "filename": f"{prompt:05d}/samples/{number:04d}.png",
        "metadata": metadata,
        "detections": asked_for(metadata),
        **more,
    }


def lines() -> list[dict[str, Any]]:
    return [line(prompt, number) for prompt in range(len(PROMPTS)) for number in range(4)]


def write(path: Path, objects: list[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    return path


def test_command_scores_a_file(uwt_eval: CommandLine, tmp_path: Path) -> None:
    objects = lines()
    for number in range(3):
        objects[number]["detections"] = []  # Three of eight single objects are not there.
    del objects[-1]["detections"][0]["color"]
    path = write(tmp_path / "found.jsonl", objects[:-2] + objects[-1:])
    out = tmp_path / "runs"
    result = uwt_eval("score", "geneval", "--observations", path, "--out", out, "--json")
    assert result.code == 3, "two pictures could not be judged"
    (record,) = result.records
    values = {name: cell["value"] for name, cell in record["metrics"].items()}
    assert values["single_object"] == 5 / 8
    assert values["counting"] == values["position"] == values["color_attribution"] == 1
    assert values["geneval_overall"] == pytest.approx((5 / 8 + 5) / 6)
    assert record["failures"] == {"missing": 2}
    (root,) = out.iterdir()
    rows = pd.read_parquet(root / "samples.parquet").set_index("id")
    assert rows.loc["00000/0000", "reason"] == "expected teddy bear>=1, found 0"
    assert rows.loc["00011/0002", "error"] == "the file has no line for this picture"
    assert "no color of the car" in rows.loc["00011/0003", "error"]


def official(found: dict[str, Any], *, correct: bool) -> dict[str, Any]:
    """The line of `results.jsonl` that the published script writes of a picture."""
    details: dict[str, list[list[float]]] = {}
    for each in found["detections"]:
        details.setdefault(each["class"], []).append([*each["box"], each["score"]])
    metadata = found["metadata"]
    return {
        "filename": f"outputs/{found['filename']}",
        "tag": metadata["tag"],
        "prompt": metadata["prompt"],
        "correct": correct,
        "reason": "" if correct else "expected dog>=1, found 0",
        "metadata": json.dumps(metadata),
        "details": json.dumps(details),
    }


def test_the_published_scripts_verdicts_are_taken_as_they_stand(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    rows = [official(each, correct=place % 4 != 0) for place, each in enumerate(lines())]
    path = tmp_path / "results.jsonl"
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    words = ("score", "geneval", "--observations", path, "--out", tmp_path / "runs", "--json")
    result = uwt_eval(*words, "--label", "m")
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["metrics"]["geneval_overall"]["value"] == 3 / 4
    assert record["model"] == "m (judged elsewhere)"
    assert record["provenance"]["judged"] == "elsewhere"
    (root,) = (tmp_path / "runs").iterdir()
    rows_kept = pd.read_parquet(root / "samples.parquet").set_index("id")
    assert rows_kept.loc["00000/0000", "reason"] == "expected dog>=1, found 0"
    usual = uwt_eval("score", "geneval", "--observations", write(tmp_path / "d.jsonl", lines()),
                     "--out", tmp_path / "runs", "--json", "--label", "m")  # fmt: skip
    assert usual.records[0]["model"] == "m"
    assert usual.records[0]["model_digest"] != record["model_digest"]
    assert usual.records[0]["dataset_digest"] == record["dataset_digest"]


def test_verdicts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good = official(line(0, 0), correct=True)
    for change, words in (
        ({"correct": 1}, "'correct' must be true or false"),
        ({"reason": None}, "and 'reason' a text"),
        ({"details": "{"}, "are no JSON texts as GenEval's script writes them"),
        ({"details": '{"dog": [[1, 2]]}'}, "are no JSON texts"),
        ({"metadata": 7}, "are no JSON texts"),
    ):
        with pytest.raises(UserError, match="line 1") as raised:
            read_observations(write(tmp_path / "r.jsonl", [{**good, **change}]), SETTINGS)
        assert words in str(raised.value)
    with pytest.raises(UserError, match="names no detector"):
        read_observations(write(tmp_path / "r.jsonl", [good]), HF_SETTINGS)


def bad(change: dict[str, Any]) -> dict[str, Any]:
    found = {**line(0, 0)["detections"][0], **change}
    return line(0, 0, detections=[found])


BAD_FILES = {
    "unknown class 'mouse'": bad({"class": "mouse"}),
    "'score' must be a number from 0 to 1, found nan": bad({"score": float("nan")}),
    "found '0.9'": bad({"score": "0.9"}),
    "lies outside the picture": bad({"box": [-3, 0, 9, 9]}),
    "corners the wrong way round": bad({"box": [9, 0, 3, 9]}),
    "'box' must be four numbers": bad({"box": [0, 0, 9, None]}),
    "edges that are no numbers": bad({"box": [0, 0, 9, float("inf")]}),
    "unknown color 'crimson'": bad({"color": "crimson"}),
    "no 'metadata'": {"filename": "00000/samples/0000.png", "detections": []},
    "'filename' is 'a.png'": line(0, 0, filename="a.png"),
    "pictures a prompt, numbered from 0": line(0, 4),
    "comes from other": line(0, 0, detector="other"),
    "comes from mmdet": line(0, 0, detector=SETTINGS.detector.network, weights="ffff"),
    "unknown tag 'shape'": line(0, 0, metadata={**PROMPTS[0], "tag": "shape"}),
    "earlier clause": line(8, 0, metadata={**PROMPTS[8], "include": PROMPTS[8]["include"][::-1]}),
    "expected a JSON object": [1],
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_bad_lines_are_named(message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "found.jsonl", [line(1, 0), BAD_FILES[message]])
    with pytest.raises(UserError) as raised:
        read_observations(path, SETTINGS)
    assert message in str(raised.value)
    assert "found.jsonl, line 2" in str(raised.value)


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    for objects, message in (
        ([], "has no pictures"),
        ([line(0, 0), line(0, 0)], "picture 0 of prompt 0 again"),
        ([line(0, 0), line(0, 1, metadata=PROMPTS[1])], "other metadata of prompt 0"),
        (
            [line(0, 0), line(0, 1, detector=SETTINGS.detector.network, weights="743b7d99aa")],
            "detector weights",
        ),
    ):
        with pytest.raises(UserError, match=message):
            read_observations(write(path, objects), SETTINGS)
    path.write_text('{"filename": \n')
    with pytest.raises(UserError, match="line 1: no JSON"):
        read_observations(path, SETTINGS)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        read_observations(path, SETTINGS)


def test_detectors_never_mix(tmp_path: Path) -> None:
    unnamed = write(tmp_path / "found.jsonl", [line(0, 0)])
    with pytest.raises(UserError, match="names no detector"):
        read_observations(unnamed, HF_SETTINGS)
    named = write(
        tmp_path / "named.jsonl", [line(0, 0, detector=HF_SETTINGS.detector.network, weights="ab")]
    )
    rows = read_observations(named, HF_SETTINGS)
    assert rows.identities["geneval_verdicts"]["weights"] == "ab"
    with pytest.raises(UserError, match="two detectors do not compare"):
        read_observations(named, SETTINGS)


def test_missing_pictures_and_partial_sets(tmp_path: Path) -> None:
    rows = read_observations(write(tmp_path / "found.jsonl", [line(3, 1)]), SETTINGS)
    assert [sample.id for sample in rows.samples] == [f"00003/{n:04d}" for n in range(4)]
    assert [status is Status.OK for status in rows.statuses] == [False, True, False, False]
    assert "1 prompt, GenEval has 553" in rows.notice


def test_interval_is_over_prompts() -> None:
    ids = [f"{prompt:05d}/{number:04d}" for prompt in range(50) for number in range(4)]
    correct = np.repeat(np.arange(50) % 2, 4).astype(float)  # A prompt's pictures agree.
    rows = pd.DataFrame({"id": ids, "tag": "counting", "correct": correct})
    cell = COUNTING.score(Observations(samples=rows), {})
    assert cell.value == 0.5
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    # Standard error of 50 prompts, not of 200 pictures.
    assert (cell.ci_high - cell.ci_low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(50), rel=0.15)


def test_overall_weighs_tasks_alike_and_needs_them_all() -> None:
    rows = pd.DataFrame(
        [
            {"id": f"{place:05d}/{n:04d}", "tag": tag, "correct": float(place == 0)}
            for place, tag in enumerate(TASKS)
            for n in range(1 + 3 * place)
        ]
    )
    assert OVERALL.score(Observations(samples=rows), {}).value == pytest.approx(1 / 6)
    with pytest.raises(Exception, match="no prompt of the task position"):
        OVERALL.score(Observations(samples=rows[rows["tag"] != "position"]), {})


def test_a_file_of_the_whole_benchmark(uwt_eval: CommandLine, tmp_path: Path) -> None:
    path = write_detections(tmp_path / "found.jsonl")
    result = uwt_eval("score", "geneval", "--observations", path, "--out", tmp_path, "--json")
    (record,) = result.records
    assert record["n"] == 2212
    assert record["failures"] == {"missing": record["n_failed"]}  # Colours nobody looked for.
    assert 0.7 < record["metrics"]["geneval_overall"]["value"] < 0.8
