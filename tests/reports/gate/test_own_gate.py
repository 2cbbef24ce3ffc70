"""The baselines by which continuous integration judges this project still judge it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.data.manifest import dataset_digest
from harness.interfaces.registry import TASKS
from reports.gate.rules import read_rules
from reports.records import load_records
from tests.conftest import CommandLine

REPOSITORY = Path(__file__).parents[3]
GATES = REPOSITORY / "tests" / "gates"
MODELS = {"codecs": {"webp", "jpeg", "avif"}, "nano": {"uniwetok-nano"}}


def job(name: str) -> dict[str, Any]:
    """What continuous integration gives the gate."""
    text = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)["jobs"][f"gate-{name}"]
    assert found["uses"] == "./.github/workflows/gate.yml"
    given: dict[str, Any] = found["with"]
    return given


@pytest.mark.parametrize("name", MODELS)
def test_baseline_belongs_to_the_task_as_it_is(name: str) -> None:
    records = [loaded.record for loaded in load_records([GATES / f"{name}.json"])]
    assert {record.model for record in records} == MODELS[name]
    task = TASKS.get("imagenet-recon")
    protocol = task.protocol(task.spec.protocols[0])
    samples = task.open(None, protocol).samples(16)
    for record in records:
        assert record.task == task.spec.name
        assert record.task_version == task.spec.version
        assert record.protocol_digest == protocol.digest
        assert record.dataset_digest == dataset_digest(samples)


@pytest.mark.parametrize("name", MODELS)
def test_rules_are_about_what_the_baseline_has(name: str) -> None:
    records = load_records([GATES / f"{name}.json"])
    for rule in read_rules(GATES / f"{name}.toml"):
        assert all(each.record.value(rule.metric) is not None for each in records)


@pytest.mark.parametrize("name", MODELS)
def test_continuous_integration_calls_the_gate(name: str) -> None:
    given = job(name)
    assert REPOSITORY / given["baseline"] == GATES / f"{name}.json"
    assert REPOSITORY / given["rules"] == GATES / f"{name}.toml"
    assert given["name"] == name
    words = shlex.split(given["run"])
    assert words[0] == "imagenet-recon"
    assert words[words.index("--limit") + 1] == "16"
    models = {words[at + 1] for at, word in enumerate(words) if word == "--model"}
    assert models == MODELS[name]


@pytest.mark.parametrize("name", [pytest.param("codecs", marks=pytest.mark.slow), "nano"])
def test_this_code_passes_its_own_gate(name: str, uwt_eval: CommandLine, tmp_path: Path) -> None:
    given = job(name)
    run = uwt_eval("run", *shlex.split(given["run"]), "--quiet", "--out", tmp_path / "runs")
    assert run.code == 0, run.err
    words = ["gate", tmp_path / "runs", "--baseline", GATES / f"{name}.json"]
    words += ["--rules", GATES / f"{name}.toml"]
    passed = uwt_eval(*words)
    assert passed.code == 0, passed.out
    assert "gate passed" in passed.out
    if name == "nano":
        record = next((tmp_path / "runs").glob("*/record.json"))
        content = json.loads(record.read_text(encoding="utf-8"))
        content["metrics"]["psnr"]["value"] -= 0.2
        del content["provenance"]["sha256"]
        record.write_text(json.dumps(content), encoding="utf-8")
        assert uwt_eval(*words).code == 1
