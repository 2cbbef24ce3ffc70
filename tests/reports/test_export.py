"""`uwt-eval export`: each target holds the figures of the records; what was there stays."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard

from tests.conftest import REPOSITORY, CommandLine
from tests.reports.runs import cell, write_run

CARD = """---
license: mit
tags:
- tokenizer
model-index:
- name: mine
  results:
  - task:
      type: image-classification
    dataset:
      type: beans
      name: Beans
    metrics:
    - type: accuracy
      value: 0.9
---

# Mine

It *was* here.
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    sets = {"rfid": cell(0.79, 0.02), "usage_pooled": cell(1.0)}
    return write_run(tmp_path / "runs", "=toy", sets=sets)


def record_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "record.json").read_text())


def test_rows_of_metrics(uwt_eval: CommandLine, run: Path, tmp_path: Path) -> None:
    record = record_of(run)
    rows = list(csv.DictReader(io.StringIO(uwt_eval("export", run, "--to", "csv").out)))
    assert [row["metric"] for row in rows] == list(record["metrics"])
    for row in rows:
        assert float(row["value"]) == record["metrics"][row["metric"]]["value"]
        assert row["dataset_digest"] == record["dataset_digest"]
        assert (row["model"], row["status"]) == ("'=toy", "ok")
    file = tmp_path / "out" / "rows.parquet"
    assert uwt_eval("export", run, "--to", "parquet", "--out", file).code == 0
    typed = pq.read_table(file).to_pylist()
    assert [row["value"] for row in typed] == [float(row["value"]) for row in rows]
    assert {row["model"] for row in typed} == {"=toy"}


def test_rows_of_samples(uwt_eval: CommandLine, run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "runs", "other", columns={"psnr": [1.0], "ssim": [0.5]})
    file = tmp_path / "samples.parquet"
    uwt_eval("export", tmp_path / "runs", "--to", "parquet", "--samples", "--out", file)
    frame = pd.read_parquet(file)
    assert sorted(frame["run_id"].unique()) == sorted([run.name, other.name])
    mine = frame[frame["model"] == "=toy"]
    assert mine["psnr"].tolist() == [20.0, 21.0, 22.0, 23.0]
    text = uwt_eval("export", run, "--to", "csv", "--samples").out
    assert [row["id"] for row in csv.DictReader(io.StringIO(text))] == mine["id"].tolist()


def test_a_cards_metadata(uwt_eval: CommandLine, run: Path) -> None:
    text = uwt_eval("export", run, "--to", "hf").out
    (index,) = yaml.safe_load(text.strip().strip("-"))["model-index"]
    assert index["name"] == "=toy"
    (result,) = index["results"]
    assert result["task"] == {"type": "image-to-image", "name": "imagenet-recon"}
    assert result["dataset"]["revision"] == record_of(run)["dataset_digest"]
    found = {each["type"]: each for each in result["metrics"]}
    assert found["rfid"]["value"] == 0.79
    assert found["rfid"]["config"] == "wetok"
    assert found["rfid"]["args"]["ci_95"] == pytest.approx([0.77, 0.81])


def test_a_card_keeps_what_it_has(uwt_eval: CommandLine, run: Path, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(CARD)
    command = ("export", run, "--to", "hf", "--out", card)
    assert uwt_eval(*command).code == 0
    once = card.read_text()
    found = ModelCard(once)
    assert "It *was* here." in once
    assert (found.data.license, found.data.tags, found.data.model_name) == (
        *("mit", ["tokenizer"]),
        "mine",
    )
    assert found.data.eval_results[0].metric_type == "accuracy"
    assert len(found.data.eval_results) == 1 + len(record_of(run)["metrics"])
    uwt_eval(*command)
    assert card.read_text() == once  # The same results take their own place.
    card.write_text("---\nmodel-index: 3\n---\n")
    done = uwt_eval(*command)
    assert (done.code, "is no model card" in done.err) == (2, True)
    assert "model-index: 3" in card.read_text()


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_trackers(
    uwt_eval: CommandLine, run: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    said: list[Any] = []
    tracked = SimpleNamespace(log=said.append, finish=lambda: said.append("finished"))

    def init(**given: Any) -> object:
        said.append(given)
        return tracked

    module = SimpleNamespace(init=init, Table=lambda dataframe: len(dataframe))
    monkeypatch.setitem(sys.modules, tracker, module)
    done = uwt_eval("export", run, "--to", tracker, "--project", "p", "--samples")
    assert done.code == 0, done.err
    started, values, end = said
    assert (started["project"], started["name"], end) == ("p", run.name, "finished")
    assert started["config"]["protocol_digest"] == record_of(run)["protocol_digest"]
    assert values["imagenet-recon/rfid"] == 0.79
    assert values["imagenet-recon/rfid_low"] == pytest.approx(0.77)
    assert values["imagenet-recon/samples"] == 4

    def refused(**_: Any) -> object:
        raise ConnectionError("no network\nat all")

    module.init = refused
    done = uwt_eval("export", run, "--to", tracker)
    assert (done.code, "no network" in done.err) == (2, True)
    monkeypatch.setitem(sys.modules, tracker, None)
    done = uwt_eval("export", run, "--to", tracker)
    assert done.code == 2
    assert f"pip install {tracker}" in done.err


def test_what_cannot_be_is_one_line(uwt_eval: CommandLine, run: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "other")
    (tmp_path / "alone.json").write_text((run / "record.json").read_text())
    for words, said in (
        ((run, "--to", "parquet"), "give --out"),
        ((run, "--to", "hf", "--samples"), "metrics alone"),
        ((tmp_path / "runs", "--to", "hf"), "a card is of one model"),
        ((tmp_path / "alone.json", "--to", "csv", "--samples"), "needs run directories"),
        ((run, "--to", "wandb", "--out", "x"), "--out"),
        ((run, "--to", "csv", "--out", run / "record.json"), "end its name in .csv"),
        ((run, "--to", "hf", "--out", "model.safetensors"), "end its name in .md"),
        ((tmp_path / "nowhere", "--to", "csv"), "no such file"),
    ):
        done = uwt_eval("export", *words)
        assert done.code == 2, words
        assert said in " ".join(done.err.split())


def test_the_documented_commands_run(
    uwt_eval: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run.rename(run.parent / "RUN")
    text = (REPOSITORY / "docs" / "reports.md").read_text(encoding="utf-8")
    commands = re.findall(r"^uwt-eval export .*", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        if "wandb" not in command:
            done = uwt_eval(*shlex.split(command)[1:])
            assert done.code == 0, done.err
