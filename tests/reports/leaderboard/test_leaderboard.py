"""`uwt-eval leaderboard` and `leaderboard check`."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from syrupy.assertion import SnapshotAssertion

from tests.conftest import CommandLine
from tests.reports.runs import cell, change_record, read_record, write_record, write_run

NASTY = 'x|y\n<img src=x onerror="alert(1)"> *b* `c` {{ 7 * 7 }} [l](http://e) </td>'
VOID = {"meta", "input", "br", "img", "link"}


class Strict(HTMLParser):
    """Fails where tags do not nest; keeps tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(path: Path) -> Strict:
    page = Strict()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder, "good", sets={"rfid": cell(1.0, 0.1)})
    write_run(folder, "close", sets={"rfid": cell(1.1, 0.1)})
    write_run(folder, NASTY, sets={"rfid": cell(2.0, 0.1)})
    write_run(folder, "broken", failed={1: "decode_error"})
    write_run(folder, "other", settings={"uint8": "truncate"}, protocol="exact")
    return folder


def test_both_forms(
    uwt_eval: CommandLine, runs: Path, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    out, page = tmp_path / "LEADERBOARD.md", tmp_path / "board" / "index.html"
    result = uwt_eval("leaderboard", runs, "--out", out, "--html", page)
    assert result.code == 0, result.err
    assert "5 results in 2 tables" in result.out
    assert out.read_text(encoding="utf-8") == snapshot(name="markdown")
    assert page.read_text(encoding="utf-8") == snapshot(name="html")


def test_names_are_harmless(uwt_eval: CommandLine, runs: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "L.md", tmp_path / "L.html"
    uwt_eval("leaderboard", runs, "--out", out, "--html", page)
    text = out.read_text(encoding="utf-8")
    assert "<img" not in text
    (table,) = [part for part in text.split("\n\n") if "onerror" in part]
    assert len({line.replace(r"\|", "").count("|") for line in table.splitlines()}) == 1
    found = parse(page)
    assert "img" not in {tag for tag, _ in found.tags}
    assert "{{ 7 * 7 }}" in "".join(found.text)


def test_the_page_needs_nothing_from_outside(
    uwt_eval: CommandLine, runs: Path, tmp_path: Path
) -> None:
    page = tmp_path / "L.html"
    uwt_eval("leaderboard", runs, "--out", tmp_path / "L.md", "--html", page)
    found = parse(page)
    outside = [
        name for _, attributes in found.tags for name in attributes if name in {"src", "href"}
    ]
    assert outside == []
    assert "1.10\n1.00 to 1.20" in found.text
    options = [attributes["value"] for tag, attributes in found.tags if tag == "option"]
    assert options == ["", "imagenet-recon", "", "exact", "wetok"]


def test_records_from_elsewhere_merge_by_file(
    uwt_eval: CommandLine, runs: Path, tmp_path: Path
) -> None:
    root = next(runs.glob("*-good-*"))
    theirs = read_record(root) | {"run_id": "theirs", "model": "theirs"}
    file = write_record(tmp_path / "theirs.json", [theirs])
    out = tmp_path / "L.md"
    assert uwt_eval("leaderboard", runs, file, runs, "--out", out).code == 0
    assert out.read_text().count("| theirs |") == 1


def test_bad_input_is_one_line_and_writes_nothing(uwt_eval: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "L.md"
    result = uwt_eval("leaderboard", tmp_path / "empty", "--out", out)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert not out.exists()


def test_check_accepts_what_runs_wrote(uwt_eval: CommandLine, runs: Path) -> None:
    result = uwt_eval("leaderboard", "check", runs)
    assert (result.code, result.out) == (0, "5 records, 0 refused\n")


def metrics_with(root: Path, **fields: Any) -> dict[str, Any]:
    metrics = read_record(root)["metrics"]
    metrics["psnr"] |= fields
    return {"metrics": metrics}


def test_a_figure_over_fewer_images_than_others_is_marked(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    runs, out, page = tmp_path / "runs", tmp_path / "L.md", tmp_path / "L.html"
    some = write_run(runs, "some", columns={"psnr": [30.0, 31.0, 32.0, 33.0]})
    write_run(runs, "all", columns={"psnr": [20.0, 21.0, 22.0, 23.0]})
    note = "1 identical image (infinite) left out"
    change_record(some, **metrics_with(some, n=3, note=note))
    assert uwt_eval("leaderboard", runs, "--out", out, "--html", page).code == 0
    told = f"PSNR over 3 of 4 samples, {note}"
    text = out.read_text(encoding="utf-8")
    assert f"\n† some (<code>{some.name}</code>): {told}\n" in text
    found = "".join(parse(page).text)
    assert found.count(f"† {told}") == 1
    for form in (text, found):
        assert "31.50†" in form
        assert "21.50†" not in form


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "famous"}, "model is famous, run.json says good"),
        ({"protocol_digest": "0" * 64}, "protocol_digest is 000"),
        ({"dataset_digest": "0" * 64}, "dataset_digest is 000"),
        ({"n": 50_000}, "n is 50000, run.json says 4"),
        ({"n_failed": 1}, "its failures sum to 0"),
        ({"schema_version": "0.4"}, "has schema 0.4"),
    ],
)
def test_check_refuses_a_changed_record(
    uwt_eval: CommandLine, runs: Path, fields: dict[str, Any], words: str
) -> None:
    change_record(next(runs.glob("*-good-*")), **fields)
    result = uwt_eval("leaderboard", "check", runs)
    assert result.code == 2
    assert words in result.out
    assert "5 records, 1 refused" in result.out


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": 29.0}, "psnr is 29.0, the samples' mean is 21.5"),
        ({"ci_low": 30.0}, "wrong way round"),
        ({"n": 9}, "rests on 9 samples of 4"),
    ],
)
def test_check_refuses_a_changed_figure(
    uwt_eval: CommandLine, runs: Path, fields: dict[str, Any], words: str
) -> None:
    root = next(runs.glob("*-good-*"))
    change_record(root, **metrics_with(root, **fields))
    result = uwt_eval("leaderboard", "check", runs, "--json")
    assert result.code == 2
    (refused,) = [each for each in json.loads(result.out) if not each["accepted"]]
    assert any(words in problem for problem in refused["problems"])


def test_check_compares_failures_and_samples(uwt_eval: CommandLine, runs: Path) -> None:
    root = next(runs.glob("*-broken-*"))
    change_record(root, n_failed=0, failures={})
    assert "failures are {}" in uwt_eval("leaderboard", "check", root).out
    root = next(runs.glob("*-good-*"))
    rows = pd.read_parquet(root / "samples.parquet")
    rows.iloc[:3].to_parquet(root / "samples.parquet", index=False)
    assert "other samples" in uwt_eval("leaderboard", "check", root).out
    (root / "run.json").write_text("{}")
    assert "another version" in uwt_eval("leaderboard", "check", root).out


def test_check_says_what_it_could_not_check(uwt_eval: CommandLine, runs: Path) -> None:
    root = next(runs.glob("*-good-*"))
    (root / "run.json").unlink()
    result = uwt_eval("leaderboard", "check", root)
    assert result.code == 0
    assert "1 without the run's files" in result.out


def test_check_finds_two_results_of_one_run(
    uwt_eval: CommandLine, runs: Path, tmp_path: Path
) -> None:
    root = next(runs.glob("*-good-*"))
    copy = tmp_path / "copy" / root.name
    shutil.copytree(root, copy)
    change_record(copy, failures={"parse_error": 0})
    result = uwt_eval("leaderboard", "check", root, copy)
    assert result.code == 2
    assert "holds another result of this run" in result.out


def test_check_of_nothing_is_one_line(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval("leaderboard", "check", tmp_path)
    assert result.code == 2
    assert "holds no result" in result.err


@pytest.mark.parametrize("name", ["board.csv", "board.json", "board.tex", "board.html", "board"])
def test_markdown_goes_into_markdown_files_alone(
    uwt_eval: CommandLine, tmp_path: Path, name: str
) -> None:
    root = write_run(tmp_path / "runs")
    result = uwt_eval("leaderboard", root, "--out", tmp_path / name)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{name}: end its name in .md, it is Markdown" in result.err
    assert not (tmp_path / name).exists()
