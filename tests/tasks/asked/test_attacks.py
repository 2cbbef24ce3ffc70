"""Judges that misbehave, files that are none, and runs that end midway or meet another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from harness.judges.endpoint import Patience
from tests.harness.judges import endpoint as judge
from tests.tasks.asked.conftest import ROWS, Bench

SOFT = ("--protocol", "geneval2-endpoint")
GENAI = ("--protocol", "genai-bench-endpoint")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patience.__init__, "__defaults__", (1, 0.01, 0.02))


def write_genai(folder: Path, prompts: Any, tags: Any) -> Path:
    folder.mkdir()
    for name, content in (("genai_image", prompts), ("genai_skills", tags)):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def changed(**change: Any) -> str:
    return json.dumps({**ROWS[0], **change})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (changed(skills=[["count"], "object", "object", "object"]), "'skills' must name one of"),
        (changed(skills="count"), "'skills' must name one of"),
        (changed(vqa_list=[["", "two"]] * 4), "a list of [question, answer], none empty"),
        (changed(vqa_list=[["How many?", " "]] * 4), "a list of [question, answer], none empty"),
        (changed(prompt="\ud800"), "prompt 00000 is no text that can be kept"),
        (changed(prompt="\n"), "'prompt' must be a text"),
        ('{"prompt": "a", "prompt": "b"}', "'prompt' is there 2 times"),
        ("[" * 100_000, "no JSON"),
        ("\ufeff", "has no prompts"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_a_file_of_geneval2_that_is_none(content: str, told: str, bench: Bench) -> None:
    bench.data.write_text(content, encoding="utf-8")
    result = bench.run("geneval2", "--data", bench.data, *SOFT)
    assert (result.code, result.err.strip().count("\n")) == (2, 0), result.err
    assert told in result.err


@pytest.mark.parametrize(
    ("prompts", "tags", "told"),
    [
        ({"²": {"prompt": "a"}}, {}, "'²' must be a number"),
        ({"9" * 5000: {"prompt": "a"}}, {}, "must be a number"),
        ({"1": {"prompt": "a"}, "001": {"prompt": "b"}}, {}, "'001' is the number of '1' too"),
        ('{"1": {"prompt": "a"}, "1": {"prompt": "b"}}', {}, "'1' is there 2 times"),
        ({"1": {"prompt": "\ud800"}}, {}, "prompt 1 is no text that can be kept"),
        ("[" * 100_000, {}, "no JSON"),
        ({"1": "a"}, {}, "with a text at 'prompt'"),
        ({"1": {"prompt": "a"}}, {"basic": 1}, "'basic' must be a list of numbers"),
        ({"1": {"prompt": "a"}}, [], "expected an object"),
        ({}, {}, "has no prompts"),
    ],
)
def test_files_of_genai_bench_that_are_none(
    prompts: Any, tags: Any, told: str, bench: Bench, tmp_path: Path
) -> None:
    folder = write_genai(tmp_path / "genai", prompts, tags)
    result = bench.run("genai-bench", "--data", folder, *GENAI)
    assert (result.code, result.err.strip().count("\n")) == (2, 0), result.err[-500:]
    assert told in result.err


def test_marks_of_editors_change_nothing(bench: Bench) -> None:
    """A byte order mark, ends of lines of Windows, an empty line, and a key that nobody reads."""
    rows = [json.dumps({**row, "note": "x"}) for row in ROWS]
    record, _ = bench.record("geneval2", "--data", bench.data, *SOFT)
    bench.data.write_bytes("\ufeff".encode() + "\r\n\r\n".join(rows).encode())
    again, _ = bench.record("geneval2", "--data", bench.data, *SOFT)
    assert again["run_id"] == record["run_id"]


def test_a_prompt_that_is_there_twice_is_said(bench: Bench) -> None:
    rows = [ROWS[0], ROWS[1], ROWS[0]]
    bench.data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    record, _ = bench.record("geneval2", "--data", bench.data, *SOFT)
    assert record["n"] == 3
    assert "1 of 3 prompts are there twice, the first 00002" in record["provenance"]["notice"]


BAD = {
    "not a number": {"top_logprobs": [{"token": "Yes", "logprob": float("nan")}]},
    "a text": {"top_logprobs": [{"token": "Yes", "logprob": "-0.1"}]},
    "logits": {"top_logprobs": [{"token": "Yes", "logprob": 9}, {"token": "No", "logprob": 4}]},
    "no list": {"top_logprobs": {"Yes": -0.1}},
}


@pytest.mark.parametrize("bad", list(BAD))
def test_probabilities_that_are_none_end_the_run_in_a_line(
    bad: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = judge._Handler._send

    def spoilt(self: Any, status: int, content: Any, headers: Any = None) -> None:
        bodies = bench.endpoint.bodies
        if isinstance(content, dict) and bodies and bench.asks(len(bodies) - 1, "kites red"):
            content["choices"][0]["logprobs"] = {"content": [BAD[bad]]}
        send(self, status, content, headers)

    monkeypatch.setattr(judge._Handler, "_send", spoilt)
    result = bench.run("geneval2", "--data", bench.data, *SOFT)
    assert (result.code, result.err.strip().count("\n")) == (2, 0), result.err
    assert "gives no token probabilities" in result.err


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "about"),
    [
        *(("garbage", "owls are"), ("null", "owls are")),
        *(("500", "triangles"), ("timeout", "triangles")),
    ],
)
def test_what_an_endpoint_owes_is_made_up_for_and_moves_no_figure(
    fault: str, about: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked about a picture, or about the drawings that the judge is checked by."""
    monkeypatch.setenv("UWT_EVAL_JUDGE_TIMEOUT", "0.5")
    words = ("geneval2", "--data", bench.data, *SOFT, "--max-failures", 3)
    bench.endpoint.fault = lambda number: fault if bench.asks(number, about) else ""
    result = bench.run(*words)
    assert "Traceback" not in result.err
    bench.endpoint.fault = lambda number: ""
    if fault == "null":  # An empty answer is one, which was paid for.
        assert result.records[0]["failures"] == {"parse_error": 1}
        return
    if result.code == 2:  # Ten in a row: it is down.
        assert "gave no reply to" in result.err
    else:
        assert set(result.records[0]["failures"]) == {"judge_error"}
    resumed, root = bench.record(*words)
    bench.runs = bench.runs.with_name("undisturbed")
    monkeypatch.setenv("UWT_EVAL_CACHE", str(bench.data.with_name("empty")))
    expected, whole = bench.record(*words)
    assert resumed["metrics"] == expected["metrics"]
    columns = [name for name in pd.read_parquet(whole / "samples.parquet") if name != "seconds"]
    one, two = (pd.read_parquet(each / "samples.parquet")[columns] for each in (root, whole))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_another_judge_than_was_asked_for_is_said(bench: Bench) -> None:
    bench.endpoint.model = lambda asked: "someone-else/other-7b"
    result = bench.run("geneval2", "--data", bench.data, *SOFT)
    assert result.code == 0
    assert "was asked for model" in result.err
    assert "answers as 'someone-else/other-7b'" in result.err


def test_replies_of_two_judges_are_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    words = ("geneval2", "--data", bench.data, *SOFT, "--max-failures", 3)
    bench.endpoint.fault = lambda number: "500" if bench.asks(number, "owls are") else ""
    assert "several judges" not in bench.run(*words).err
    bench.endpoint.fault = lambda number: ""
    bench.endpoint.model = lambda asked: f"{asked}-2027"
    result = bench.run(*words)
    assert result.code == 0
    assert "replies are of several judges, see judge.json" in result.err


def child(bench: Bench, images: Path, *more: object, out: Path | None = None) -> Any:
    words = ["geneval2", "--images", images, "--data", bench.data, *SOFT, "-q", "--json", *more]
    place = ["--device", "cpu", "--out", out or bench.runs]
    return subprocess.Popen(
        [sys.executable, "-m", "uwt_eval", "run", *map(str, [*words, *place])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "UWT_EVAL_JUDGE_CONCURRENCY": "1"},
        text=True,
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30), (90 * number, 40, 200)).save(folder / f"{number:05d}.png")
    return folder


def ended(process: Any) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_one_beside_it_is_turned_away(
    bench: Bench, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[tuple[int, str, str]] = []

    def strike(number: int) -> None:
        if number == 74:  # One to begin with, 68 about the drawings, and five more.
            beside.append(ended(child(bench, images)))
            process.kill()

    bench.endpoint.before = strike
    process = child(bench, images)
    assert ended(process)[0] == -signal.SIGKILL
    ((code, _, err),) = beside
    assert code == 2
    assert f"is in use by another run (process {process.pid})" in err
    assert err.count("\n") == 1
    bench.endpoint.before = lambda number: None
    code, out, err = ended(child(bench, images))
    assert code == 0, err
    assert len(bench.endpoint.bodies) <= 1 + 68 + 10 + 1, "nothing is paid twice"
    (resumed,) = json.loads(out)
    monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / "empty"))
    code, out, err = ended(child(bench, images, out=tmp_path / "undisturbed"))
    assert code == 0, err
    assert json.loads(out)[0]["metrics"] == resumed["metrics"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_picture_that_is_not_there_is_counted(damage: str, bench: Bench, images: Path) -> None:
    path = images / "00001.png"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: 0 if damage == "empty" else 60])
    words = ("--images", images, "--data", bench.data, *SOFT, "--device", "cpu")
    result = bench.uwt_eval("run", "geneval2", *words, "--out", bench.runs, "-q", "--json")
    assert result.code == 3
    (record,) = result.records
    assert record["failures"] == {"missing" if damage == "missing" else "decode_error": 1}
    assert record["n_failed"] == 1
