"""Tables that others published: those that ship, a user's own, and what is wrong with one."""

from __future__ import annotations

import csv
import io
import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import tasks
from harness.interfaces import registry
from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, TASKS
from reports.published import TABLES, find_tables, read_published
from reports.tables.filled import PLAIN, measures_of
from reports.tables.lint import lint_table
from tests.conftest import CommandLine
from tests.reports.runs import cell, change_record, write_run

MINE = """
title = "Ours of last year"
[source]
title = "Our blog"
url = "https://example.org/blog"
date = "2026-01-31"
[images]
imagenet-recon = 50000
[protocols]
imagenet-recon = "wetok"
[tasks]
imagenet-recon = ""
[[measures]]
metric = "psnr"
heading = "PSNR"
better = "higher"
table = "values"
[[rows]]
method = "Old"
values = { psnr = 21.5 }
[[rows]]
method = "Older"
bold = ["values.psnr"]
values = { psnr = 20.5 }
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", TABLES)
def test_what_ships_is_of_metrics_that_its_tasks_have(name: str) -> None:
    table = read_published(TABLES[name])
    assert lint_table(table) == []
    for measure in measures_of(table):
        for task in table["tasks"]:
            if measure.table in {PLAIN, task, task.split("-")[0]}:
                assert measure.metric in TASKS.get(task).spec.metrics
                assert METRICS.get(measure.metric).higher_is_better is measure.higher_is_better
    for task, protocol in table.get("protocols", {}).items():
        assert protocol in TASKS.get(task).spec.protocols


def test_a_table_of_ones_own_stands_beside_runs(
    uwt_eval: CommandLine, tmp_path: Path, mine: Path
) -> None:
    change_record(write_run(tmp_path / "runs", "good"), n=50_000)
    other = write_run(tmp_path / "runs", "other", protocol="exact", columns={"psnr": [1.0, 2.0]})
    change_record(other, n=50_000)
    words = ("report", "--published", mine, "--runs", tmp_path / "runs")
    shown = uwt_eval(*words, "--format", "md")
    assert shown.code == 0, shown.err
    assert "## mine: Ours of last year" in shown.out
    assert r"| good (measured \[1\]) | 21.50 \[" in shown.out
    assert "not comparable with the source: protocol exact, the source's is wetok" in shown.out
    assert "- source: Our blog, https:<!-- -->//example.org/blog, 2026-01-31" in shown.out
    assert "- imagenet-recon: protocol wetok" in shown.out
    rows = csv.DictReader(io.StringIO(uwt_eval(*words, "--format", "csv").out))
    assert [(row["kind"], row["comparable"]) for row in rows] == [
        ("published", ""), ("published", ""), ("measured", "yes"), ("measured", "no"),
    ]  # fmt: skip
    for form in ("latex", "html", "json", "plain"):
        both = uwt_eval(*words, "table8", "mine", "wetok", "--format", form)
        assert both.code == 0, both.err
        assert "Older" in both.out
        assert "Cosmos" in both.out


def test_an_unstated_protocol_is_never_compared_silently(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    write_run(tmp_path / "runs", "tok", sets={"rfid": cell(0.5)})
    shown = uwt_eval("report", "wetok", "--runs", tmp_path / "runs")
    assert "tok (measured [1], ≠)" in shown.out
    assert "the source does not say under which protocol it measured" in shown.out


def test_the_lint_reads_them_too(uwt_eval: CommandLine, mine: Path) -> None:
    assert uwt_eval("report", "lint").code == 0
    found = uwt_eval("report", "lint", "--published", mine, "--json")
    assert found.code == 1
    (text,) = [each["text"] for each in json.loads(found.out) if each["table"] == "mine"]
    assert text == "values.psnr 20.5 is bold, better: Old 21.5"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "Ours of last year"', "", "'title' is missing"),
        ('date = "2026-01-31"', "date = 2026-01-31", "'source.date'"),
        ('url = "https://example.org/blog"', 'url = "blog"', "'source.url'"),
        ("[images]", "[image]", "'image' is unknown: did you mean 'images'"),
        ('[tasks]\nimagenet-recon = ""', '[tasks]\nimagenet-recom = ""', "'tasks.imagenet-recom'"),
        ('better = "higher"', 'better = "up"', "better' cannot be 'up'"),
        ('method = "Old"\n', "", "row 1: 'method' is missing"),
        ("psnr = 21.5", 'psnr = "21.5"', "row 1, Old: 'values': 'psnr' is '21.5'"),
        ("psnr = 21.5", "psnr = nan", "'rows.values.psnr' cannot be nan"),
        ("psnr = 21.5", "ssim = 0.5", "row 1, Old: figure values.ssim belongs to no column"),
        ('method = "Old"', 'method = "Old"\nyear = 1', "row 1, Old: field 'year'"),
        ("[source]", "[source", "mine.toml: "),
        ("imagenet-recon = 50000", "imagenet-recon = -5", "'images.imagenet-recon' cannot be -5"),
        ("imagenet-recon = 50000", "imagenet-recon = 0", "'images.imagenet-recon' cannot be 0"),
        ("recon = 50000", "recom = 50000", "'images.imagenet-recom' is none of its 'tasks': did"),
        ('"wetok"', '"wetokk"', "'protocols.imagenet-recon': unknown protocol 'wetokk' for task"),
        ('"wetok"', '"wetokk"', "did you mean 'wetok'?"),
        ('"wetok"', '"mine2.toml"', "mine2.toml: there is no such file"),
        ('-recon = "wetok"', '-recom = "wetok"', "'protocols.imagenet-recom' is none of its 'ta"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(
    mine: Path, uwt_eval: CommandLine, old: str, new: str, words: str
) -> None:
    mine.write_text(MINE.replace(old, new, 1), encoding="utf-8")
    result = uwt_eval("report", "mine", "--published", mine)
    assert result.code == 2
    assert str(mine) in result.err
    assert words in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize("coding", ["latin-1", "utf-16"])
def test_other_encodings_are_said_in_one_line(
    mine: Path, uwt_eval: CommandLine, coding: str
) -> None:
    mine.write_text(MINE.replace("Ours of", "Größen of"), encoding=coding)
    result = uwt_eval("report", "mine", "--published", mine)
    assert result.code == 2
    assert f"table {mine} is no UTF-8 text: save it as UTF-8 without a BOM" in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_byte_order_mark_is_read_over(mine: Path) -> None:
    plain = read_published(mine)
    mine.write_text(MINE, encoding="utf-8-sig")
    assert read_published(mine) == plain


def test_a_protocol_of_ones_own_is_a_file_beside_the_table(mine: Path) -> None:
    shipped = Path(tasks.__file__).with_name("protocols") / "wetok.toml"
    (mine.parent / "ours.toml").write_bytes(shipped.read_bytes())
    mine.write_text(MINE.replace('"wetok"', '"ours.toml"'), encoding="utf-8")
    assert read_published(mine)["protocols"] == {"imagenet-recon": "ours"}


def test_names(
    uwt_eval: CommandLine, tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "did you mean 'wetok'" in uwt_eval("report", "wetokk").err
    assert "name a table: table8 to table13" in uwt_eval("report", "table").err
    taken = tmp_path / "table8.toml"
    taken.write_text(MINE, encoding="utf-8")
    with pytest.raises(UserError, match="'table8' is there, rename the file"):
        find_tables([taken])
    assert find_tables([mine, mine])["mine"] == mine
    point = EntryPoint("theirs", "tests.reports.test_published:OFFERED", "uwt_eval.tables")
    monkeypatch.setitem(OFFERED, "offered", mine)
    monkeypatch.setitem(registry.TABLES._entry_points(), "theirs", point)
    shown = uwt_eval("report", "offered", "--format", "plain")
    assert shown.code == 0, shown.err
    assert "Ours of last year" in shown.out
    refused = uwt_eval("run", "offered", "--checkpoints", tmp_path)
    assert "--checkpoints fills published tables, and 'offered' is none" in refused.err


OFFERED: dict[str, Path] = {}
"""What a plug-in would offer."""
