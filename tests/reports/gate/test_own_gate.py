"""The baseline by which continuous integration judges this project is still the one to judge by."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from harness.data.manifest import dataset_digest
from harness.registry import TASKS
from reports.gate.rules import read_rules
from reports.records import load_records

REPOSITORY = Path(__file__).parents[3]
GATES = REPOSITORY / "tests" / "gates"


def test_baseline_belongs_to_the_task_as_it_is() -> None:
    records = [loaded.record for loaded in load_records([GATES / "codecs.json"])]
    assert {record.model for record in records} == {"webp", "jpeg", "avif"}
    task = TASKS.get("imagenet-recon")
    protocol = task.protocol(task.spec.protocols[0])
    samples = task.open(None, protocol).samples(16)
    for record in records:
        assert record.task == task.spec.name
        assert record.task_version == task.spec.version
        assert record.protocol_digest == protocol.digest
        assert record.dataset_digest == dataset_digest(samples)


def test_rules_are_about_what_the_baseline_has() -> None:
    records = load_records([GATES / "codecs.json"])
    for rule in read_rules(GATES / "codecs.toml"):
        assert all(each.record.value(rule.metric) is not None for each in records)


def test_continuous_integration_calls_the_gate() -> None:
    text = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["gate"]
    assert job["uses"] == "./.github/workflows/gate.yml"
    assert (REPOSITORY / job["with"]["baseline"]) == GATES / "codecs.json"
    assert (REPOSITORY / job["with"]["rules"]) == GATES / "codecs.toml"
    words = shlex.split(job["with"]["run"])
    assert words[0] == "imagenet-recon"
    assert words[words.index("--limit") + 1] == "16"
