"""`uwt-eval doctor`: findings, their remedies, and what it never says."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.doctor import files, judge, machine, software, waiting
from harness.doctor.finding import Finding
from harness.interfaces.registry import CHECKS
from tests.conftest import CommandLine

KEY = "sk-secret-of-the-test"


@pytest.fixture(autouse=True)
def no_question_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """lmms-eval's check takes ten seconds; `tests/e2e/test_broken_packages.py` makes it."""
    monkeypatch.setattr(CHECKS, "names", lambda: [])


def by_name(findings: Any) -> dict[str, Any]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A judge's endpoint on this machine that knows one key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Bearer {KEY}"
            body = b'{"object": "list", "data": []}' if known else b'{"error": {"message": "no"}}'
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_finding_that_is_not_well_has_a_remedy(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    started = time.process_time()
    result = uwt_eval("doctor", "--json")
    assert time.process_time() - started < 20
    findings = json.loads(result.out)
    names = {finding["name"] for finding in findings}
    assert {"python", "uwt-eval", "torch", "precision", "judge", "disk runs", "lmms-eval"} <= names
    assert {"weights inception", "data imagenet", "tasks", "metrics"} <= names
    for finding in findings:
        assert bool(finding["fix"]) == (finding["level"] != "ok"), finding
    broken = any(finding["level"] == "error" for finding in findings)
    assert result.code == (2 if broken else 0)


def test_terminal_says_the_remedy_below(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UWT_EVAL_IMAGENET", str(tmp_path / "no[where]"))
    result = uwt_eval("doctor")
    assert result.code == 2
    assert "no[where]" in result.out
    assert "fix: mend the data or UWT_EVAL_IMAGENET" in result.out


def test_weights_are_held_against_their_published_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.data import assets

    missing = by_name(files._assets())["weights inception"]
    assert (missing.level, "assets fetch inception" in missing.fix) == ("warning", True)
    file = tmp_path / "inception.pth"
    file.write_bytes(b"other weights")
    monkeypatch.setenv("UWT_EVAL_ASSET_INCEPTION", str(file))
    wrong = by_name(files._assets())["weights inception"]
    assert wrong.level == "error"
    assert "not the published file" in wrong.text
    digest = hashlib.sha256(b"other weights").hexdigest()
    published = assets.ASSETS["inception"]
    fields = {name: getattr(published, name) for name in published.__slots__} | {"sha256": digest}
    monkeypatch.setitem(assets.ASSETS, "inception", assets.Asset(**fields))
    right = by_name(files._assets())["weights inception"]
    assert right.level == "ok"
    assert digest[:12] in right.text


def test_data_that_is_a_part_of_the_set_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, photo_folder: Path
) -> None:
    monkeypatch.setenv("UWT_EVAL_IMAGENET", str(photo_folder))
    found = by_name(files._data())["data imagenet"]
    assert found.level == "warning"
    assert "6 images" in found.text
    assert "50,000" in found.text


def test_names_tell_the_published_set() -> None:
    published = [f"val/n01440764/ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 50_001)]
    assert files._names("imagenet", published) == "named as published"
    assert files._names("imagenet", ["val/a.png", *published[1:]]) == "not named as published"
    assert files._names("coco", ["val2017/000000000139.jpg"]) == "named as published"


def test_judge_without_a_key(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_URL", endpoint)
    for name in ("UWT_EVAL_JUDGE_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (found,) = judge.find()
    assert found.level == "warning"
    assert "no key" in found.text


@pytest.mark.parametrize(
    ("key", "level", "text"),
    [(KEY, "ok", "answers, key from UWT_EVAL_JUDGE_KEY"), (f"{KEY}-wrong", "error", "")],
)
def test_judge_that_is_there(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, key: str, level: str, text: str
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_URL", endpoint)
    monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", key)
    (found,) = judge.find()
    assert found.level == level
    assert text in found.text
    assert KEY not in found.text + found.fix


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", f"http://user:{KEY}@127.0.0.1:9/v1", "nowhere"]
)
def test_judge_that_is_not_there(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_URL", url)
    monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", KEY)
    (found,) = judge.find()
    assert found.level == "error"
    assert KEY not in found.text + found.fix


def test_forced_tf32_and_an_unwritable_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.set_float32_matmul_precision("highest")
    assert "tf32" not in by_name(machine.find())
    (tmp_path / "file").touch()
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setenv("UWT_EVAL_OUT", str(tmp_path / "file" / "runs"))
    found = by_name(machine.find())
    assert found["tf32"].fix == "unset NVIDIA_TF32_OVERRIDE"
    assert found["disk runs"].level == "error"
    assert "matmul off" in found["precision"].text


def test_versions_are_held_against_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"uwt-eval": "0.1.0", "torch": "1.0", "lmms-eval": "0.6.1"}
    declared = ["torch>=2.11", "absent-package>=1", 'lmms-eval<0.8,>=0.7; extra == "vqa"']

    def version(name: str) -> str:
        if name not in versions:
            raise software.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(software, "version", version)
    monkeypatch.setattr(software, "requires", lambda name: declared)
    findings = list(software.find())
    levels = {finding.name: finding.level for finding in findings if finding.fix}
    assert levels == {"torch": "error", "absent-package": "error", "lmms-eval": "warning"}
    texts = " ".join(finding.text + finding.fix for finding in findings)
    assert 'pip install "torch>=2.11"' in texts
    assert "0.6.1, needed <0.8,>=0.7" in texts
    versions["lmms-eval"] = "0.7.3"
    assert by_name(software.find())["lmms-eval"].level == "ok"


def test_what_lmms_eval_needs_is_asked_for_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = {"uwt-eval": "0.1.0", "lmms-eval": "0.7.3", "filelock": "4.0.1"}
    declared = ["filelock>=3.16", 'lmms-eval<0.8,>=0.7; extra == "vqa"']
    declared.append('filelock<4; extra == "vqa"')
    monkeypatch.setattr(software, "version", lambda name: versions[name])
    monkeypatch.setattr(software, "requires", lambda name: declared)
    found = by_name(software.find())["filelock"]
    assert (found.level, found.fix) == ("error", 'pip install "filelock<4"')


def test_checks_of_plug_ins_are_made_and_may_break(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("first", "ok", "looked at")
        raise ValueError("no such thing")

    monkeypatch.setattr(CHECKS, "names", lambda: ["mine"])
    monkeypatch.setattr(CHECKS, "get", lambda name: broken)
    with waiting.asked(quick=False) as answers:
        first, second, *_ = answers
    assert (first.level, second.name, second.level) == ("ok", "mine", "error")
    assert "ValueError: no such thing" in second.text


def test_checks_are_made_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    meet = threading.Barrier(2, timeout=30)

    def check() -> Iterator[Finding]:
        meet.wait()
        yield Finding("met", "ok", "the other")

    monkeypatch.setattr(CHECKS, "names", lambda: ["mine", "yours"])
    monkeypatch.setattr(CHECKS, "get", lambda name: check)
    with waiting.asked(quick=False) as answers:
        assert [finding.name for finding in answers][:2] == ["met", "met"]


def test_quick_asks_nobody(uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_check", lambda name: pytest.fail("asked"))
    monkeypatch.setattr(judge, "find", lambda: pytest.fail("asked"))
    findings = json.loads(uwt_eval("doctor", "--quick", "--json").out)
    assert "judge" not in {finding["name"] for finding in findings}


@pytest.mark.parametrize(
    ("noun", "many"),
    [("model", "models"), ("family of tasks", "families of tasks"), ("settings", "settings")],
)
def test_counts_are_of_many(noun: str, many: str) -> None:
    assert files._plural(noun) == many
