"""`--format`: the same results for documents, spreadsheets, programs and pipes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from harness.commands.formats import Format
from harness.commands.outputs import print_records
from reports.records import load_record
from tests.conftest import CommandLine
from tests.reports.runs import write_run

RUN = ("run", "imagenet-recon", "--protocol", "exact", "--metrics", "psnr,usage_pooled", "--limit")


@pytest.fixture
def runs(uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path) -> list[str]:
    command = (*RUN, "2", "--data", photo_folder, "--out", tmp_path / "runs")
    found = uwt_eval(*command, "--model", "webp", "--model", "jpeg?=", "--json")
    assert found.code == 2  # An option without a name.
    found = uwt_eval(*command, "--model", "webp", "--model", "jpeg", "--format", "json")
    assert [record["model"] for record in found.records] == ["webp", "jpeg"]
    return [str(tmp_path / "runs" / record["run_id"]) for record in found.records]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_results(uwt_eval: CommandLine, runs: list[str]) -> None:
    rows = table(uwt_eval("score", *runs, "--format", "csv").out)
    assert [(row["model"], row["metric"]) for row in rows] == [
        *(("webp", "psnr"), ("webp", "usage_pooled")),
        *(("jpeg", "psnr"), ("jpeg", "usage_pooled")),
    ]
    record = json.loads((Path(runs[0]) / "record.json").read_text())
    assert float(rows[0]["value"]) == record["metrics"]["psnr"]["value"]
    assert rows[0]["protocol_digest"] == record["protocol_digest"]
    assert (rows[1]["value"], rows[1]["status"][:14]) == ("", "not applicable")
    lines = uwt_eval("score", *runs, "--format", "md").out.splitlines()
    assert lines[0].startswith("**imagenet-recon · imagenet · protocol exact")
    assert lines[2].startswith("| model | PSNR↑ |")
    assert lines[3].startswith("|---|--:|")
    assert lines[4].startswith("| webp | ")
    assert "- ± is half of the 95% interval" in lines
    plain = uwt_eval("score", *runs, "--format", "plain").out
    assert "─" not in plain
    assert "\x1b" not in plain
    assert any(line.split()[:1] == ["jpeg"] for line in plain.splitlines())


def test_a_long_name_is_whole_in_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "=a model | whose name " + 60 * "x"
    records = [load_record(write_run(tmp_path, name)).record]
    for form, written in (
        (Format.PLAIN, name),
        (Format.MD, f"| {name.replace('|', chr(92) + '|')} |"),
        (Format.CSV, f"'{name}"),
    ):
        print_records(records, [], form)
        assert written in capsys.readouterr().out


def test_comparisons(uwt_eval: CommandLine, runs: list[str]) -> None:
    (row, other) = table(uwt_eval("compare", *runs, "--format", "csv").out)
    facts = json.loads(uwt_eval("compare", *runs, "--format", "json").out)
    assert float(row["difference"]) == facts["paired"]["psnr"]["difference"]
    assert (row["kind"], other["kind"]) == ("paired", "not_paired")
    assert other["reason"] == facts["not_paired"]["usage_pooled"]["reason"]
    lines = uwt_eval("compare", *runs, "--format", "md").out.splitlines()
    assert lines[0].startswith("- A: webp")
    assert "| paired by sample | A | B | B − A | 95% interval | p | rose/fell |" in lines
    assert "─" not in uwt_eval("compare", *runs, "--format", "plain").out


def test_the_papers_tables(uwt_eval: CommandLine, runs: list[str]) -> None:
    given = ("report", "table8", "--runs", runs[0], "--format")
    rows = json.loads(uwt_eval(*given, "json").out)
    lines = table(uwt_eval(*given, "csv").out)
    assert [row["row"] for row in rows] == [line["row"] for line in lines]
    assert {row["kind"] for row in rows} == {"paper", "measured"}
    plain = uwt_eval(*given, "plain").out
    assert plain.startswith("Table 8:")
    assert "─" not in plain


def test_one_format_is_asked_for(uwt_eval: CommandLine, runs: list[str]) -> None:
    done = uwt_eval("score", *runs, "--json", "--format", "md")
    assert (done.code, "give one of them" in done.err) == (2, True)
    assert uwt_eval("compare", *runs, "--json", "--format", "json").code == 0
    done = uwt_eval("run", "table1", "--checkpoints", "nowhere", "--format", "md")
    assert "have no --format md" in done.err
