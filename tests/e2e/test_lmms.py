"""Any of lmms-eval's tasks on local rows: their figures are its own, as far as float64 goes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.harness.judges.endpoint import Endpoint, serving
from tests.tasks.vqa.copies import Rows, write_json
from tests.tasks.vqa.lmms_copies import MMSTAR, REPLIES, write_hub
from tests.uniwetok.mllm import toys

pytest.importorskip("lmms_eval")
pytestmark = pytest.mark.slow

TOY = REPOSITORY / "tests" / "tasks" / "vqa" / "toy_chat.py"
ANSWERED = {
    "mmstar": "MMStar",
    "pope_full": "POPE",
    "refspatial": "RefSpatial-Bench",
    "docvqa_val": "DocVQA",
    "ocrbench": "OCRBench",
}
DRAWN = {"WISE": "WISE", "imgedit": "imgedit"}
"""Names of data sets by task."""


class Place:
    """A folder with data, a model that answers, one that draws, a judge, and what was run."""

    def __init__(self, folder: Path, judge: Endpoint) -> None:
        self.folder = folder
        self.judge = judge
        write_hub(folder / "hub")
        (folder / "replies.json").write_text(json.dumps(REPLIES))
        self.model = toys.saved(folder / "model")
        self.environment = {
            **os.environ,
            "HF_HOME": str(folder / "hf"),
            "PYTHONPATH": str(REPOSITORY),
            "WISE_API_KEY": "any",
            "WISE_BASE_URL": judge.url,
            "WISE_CALL_DELAY": "0",
            "IMGEDIT_API_KEY": "any",
            "IMGEDIT_BASE_URL": judge.url,
        }

    def run(self, *words: str, **environment: str) -> tuple[int, dict[str, Any], str]:
        """`uwt-eval run`, and its records by task."""
        command = [str(Path(sys.executable).parent / "uwt-eval"), "run", *words]
        for option, usual in (("--data", "hub"), ("--out", "runs")):
            command += [] if option in words else [option, str(self.folder / usual)]
        command += ["--plugin", str(TOY), "--device", "cpu", "--json"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment, **environment},
            cwd=self.folder,
        )
        records = json.loads(done.stdout) if done.stdout else []
        return done.returncode, {each.get("task", ""): each for each in records}, done.stderr

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The rows of a run."""
        (root,) = (self.folder / "runs").glob(f"lmms-{name}-*")
        lines = (root / "replies.jsonl").read_text(encoding="utf-8").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for row in rows:
            if name in DRAWN and row["reply"]:
                reply = json.loads(row["reply"])
                reply["images"] = [str(root / image) for image in reply["images"]]
                row["reply"] = json.dumps(reply)
        return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    def answer(text: str, images: list[bytes]) -> str:
        if not images:  # WISE sends the picture with another message than the first.
            return "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
        scores = hashlib.sha256(images[-1]).digest()[:3]
        return "\n".join(f"Score: {1 + score % 5}" for score in scores)

    with serving(Endpoint(answer)) as judge:
        yield Place(tmp_path_factory.mktemp("lmms"), judge)


Ran = tuple[int, dict[str, Any], str]


@pytest.fixture(scope="module")
def answered(place: Place) -> Ran:
    names = [f"lmms:{name}" for name in ANSWERED]
    return place.run(*names, "--model", f"toy-chat:{place.folder / 'replies.json'}")


@pytest.fixture(scope="module")
def drawn(place: Place) -> Ran:
    small = "height=64&width=64&steps=1&cfg=1"
    code, first, errors = place.run("lmms:WISE", "--model", f"uniwetok-gen:{place.model}?{small}")
    assert code == 0, errors
    edits = f"uniwetok-edit:{place.model}?steps=1&cfg=1"
    code, second, errors = place.run("lmms:imgedit", "--model", edits)
    return code, first | second, errors


def test_every_figure_is_lmms_evals_to_1e_12(place: Place, answered: Ran, drawn: Ran) -> None:
    code, records, errors = answered
    assert code == 0, errors
    assert drawn[0] == 0, drawn[2]
    wanted: dict[str, Any] = {}
    for name, data in (ANSWERED | DRAWN).items():
        replies: dict[str, list[str]] = {}
        for row in place.asked(name):
            replies.setdefault(row["task"], []).append(row["reply"])
        wanted[name] = {"data": data, "replies": replies}
    (place.folder / "wanted.json").write_text(json.dumps(wanted))
    script = REPOSITORY / "tests" / "tasks" / "vqa" / "plain_lmms.py"
    command = [sys.executable, str(script), "wanted.json", "plain.json"]
    done = subprocess.run(
        command,
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads((place.folder / "plain.json").read_text())
    compared: dict[str, int] = {}
    for name, cells in ((name, each["metrics"]) for name, each in (records | drawn[1]).items()):
        for key, cell in cells.items():
            task, metric, *chosen = key.removeprefix("lmms:").split("/")
            value = theirs[name.removeprefix("lmms:")][task].get(f"{metric},{(*chosen, 'none')[0]}")
            if cell["value"] is None:
                assert cell["status"] == "not applicable: lmms-eval gave no such figure", key
                continue
            assert cell["value"] == pytest.approx(value, rel=1e-12, abs=1e-12), key
            compared[name] = compared.get(name, 0) + 1
    assert compared == {
        "lmms:mmstar": 3,
        "lmms:pope_full": 15,
        "lmms:refspatial": 4,
        "lmms:docvqa_val": 1,
        "lmms:ocrbench": 1,
        "lmms:WISE": 3,
        "lmms:imgedit": 4,
    }


def test_shards_of_drawings_are_merged_and_judged_once(place: Place, drawn: Ran) -> None:
    small = "height=64&width=64&steps=1&cfg=1"
    words = ("lmms:WISE", "--model", f"uniwetok-gen:{place.model}?{small}")
    roots = []
    for number in (1, 2):
        out = place.folder / f"shard-{number}"
        code, _, errors = place.run(*words, "--shard", f"{number}/2", "--out", str(out))
        assert code == 0, errors
        roots.append(next(out.glob("lmms-WISE-*")))
    command = [str(Path(sys.executable).parent / "uwt-eval"), "merge", *map(str, roots), "--json"]
    command += ["--out", str(place.folder / "merged")]
    done = subprocess.run(
        command,
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    whole = drawn[1]["lmms:WISE"]
    assert record["metrics"] == whole["metrics"]
    assert record["dataset_digest"] == whole["dataset_digest"]


def test_broken_pictures_and_scorers_are_failures_of_their_own(place: Place) -> None:
    rows: Rows = [{**row} for row in MMSTAR[:3]]
    rows[1]["answer"] = None
    write_json(place.folder / "broken" / "MMStar", rows)
    (place.folder / "broken" / "MMStar" / "images" / "2-image.png").write_bytes(b"no picture")
    model = f"toy-chat:{place.folder / 'replies.json'}"
    code, records, errors = place.run(
        "lmms:mmstar",
        *("--model", model, "--data", str(place.folder / "broken")),
        *("--out", str(place.folder / "others"), "--max-failures", "2"),
    )
    assert code == 0, errors
    record = records["lmms:mmstar"]
    assert record["failures"] == {"decode_error": 1, "parse_error": 1}
    assert record["metrics"]["lmms:mmstar/average"]["value"] == 1.0
    assert "lmms-eval's scorer broke down: AttributeError" in errors


def test_what_is_wanted_is_said(place: Place) -> None:
    model = f"toy-chat:{place.folder / 'replies.json'}"
    empty = place.folder / "empty"
    empty.mkdir()
    words = ("--model", model, "--data", str(empty))
    code, _, errors = place.run("lmms:gedit_bench", "lmms:ocrbench", *words)
    said = " ".join(errors.split())
    assert code == 2
    assert "lmms:gedit_bench needs one that edits images" in said
    code, _, errors = place.run("lmms:ocrbench", "lmms:mathvista_test", *words, OPENAI_API_KEY="")
    said = " ".join(errors.split())
    assert code == 2
    assert "no copy of ocrbench is there" in said
    assert "lmms:mathvista_test: " in said
