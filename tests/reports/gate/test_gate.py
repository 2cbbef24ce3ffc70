"""`uwt-eval gate`: exit codes, summaries and the baseline file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.conftest import CommandLine
from tests.reports.runs import cell, change_record, read_record, write_record, write_run


@pytest.fixture(autouse=True)
def no_step_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def run_with(folder: Path, psnr: float, rfid: float | None = 3.0, half: float | None = 0.1) -> Path:
    sets = {} if rfid is None else {"rfid": cell(rfid, half)}
    columns = {"psnr": [psnr - 1, psnr, psnr, psnr + 1]}
    return write_run(folder, "toy", columns=columns, sets=sets)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    return write_record(tmp_path / "baseline.json", read_record(run_with(tmp_path / "old", 23.0)))


@pytest.mark.parametrize(
    ("psnr", "rfid", "rules", "code"),
    [
        (23.0, 3.0, [], 0),
        (22.9, 3.1, [], 0),
        (20.0, 3.0, [], 1),
        (23.0, 3.2, [], 1),
        (23.0, 2.5, [], 0),
        (22.97, 3.0, ["psnr>=-0.05"], 0),
        (22.9, 3.0, ["psnr>=-0.05"], 1),
        (23.0, 3.02, ["rfid<=+1%"], 0),
        (23.0, 3.05, ["rfid<=+1%"], 1),
        (20.0, 3.05, ["rfid<=+5%"], 0),
        (23.0, None, ["rfid<=+1%"], 3),
        (23.0, None, [], 3),
        (20.0, None, [], 1),
    ],
)
def test_exit_codes(
    uwt_eval: CommandLine,
    tmp_path: Path,
    baseline: Path,
    psnr: float,
    rfid: float | None,
    rules: list[str],
    code: int,
) -> None:
    root = run_with(tmp_path / "new", psnr, rfid)
    words = [word for rule in rules for word in ("--rule", rule)]
    result = uwt_eval("gate", root, "--baseline", baseline, *words)
    assert result.code == code, result.out + result.err
    assert (
        result.out.splitlines()[-1]
        == {
            0: "gate passed",
            1: "gate failed",
            3: "gate incomplete",
        }[code]
    )


def test_without_an_interval_nothing_may_get_worse(uwt_eval: CommandLine, tmp_path: Path) -> None:
    old = run_with(tmp_path / "old", 23.0, 3.0, None)
    same = run_with(tmp_path / "same", 23.0, 3.0, None)
    worse = run_with(tmp_path / "worse", 23.0, 3.001, None)
    assert uwt_eval("gate", same, "--baseline", old).code == 0
    result = uwt_eval("gate", worse, "--baseline", old, "--json")
    assert result.code == 1
    checks = {check["metric"]: check for check in json.loads(result.out)["checks"]}
    assert checks["rfid"]["bound"] == 0
    assert checks["rfid"]["outcome"] == "regression"


def test_the_tolerance_joins_both_intervals(uwt_eval: CommandLine, tmp_path: Path) -> None:
    old = run_with(tmp_path / "old", 23.0, 3.0, 0.3)
    new = run_with(tmp_path / "new", 23.0, 3.45, 0.4)
    result = uwt_eval("gate", new, "--baseline", old, "--rule", "rfid", "--json")
    (check,) = json.loads(result.out)["checks"]
    assert check["bound"] == pytest.approx(0.5)
    assert result.code == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("task", "coco-recon"), ("task_version", 2), ("dataset_digest", "0" * 64)],
)
def test_a_baseline_of_something_else_is_not_comparable(
    uwt_eval: CommandLine, tmp_path: Path, baseline: Path, field: str, value: object
) -> None:
    record = json.loads(baseline.read_text()) | {field: value}
    write_record(baseline, record)
    result = uwt_eval("gate", run_with(tmp_path / "new", 23.0), "--baseline", baseline)
    assert result.code == 2
    assert "not comparable" in result.out
    assert field.removesuffix("_digest") in result.out


def test_an_incomplete_run_is_incomplete(
    uwt_eval: CommandLine, tmp_path: Path, baseline: Path
) -> None:
    root = run_with(tmp_path / "new", 23.0)
    change_record(root, status="incomplete", n_failed=1, failures={"model_error": 1})
    result = uwt_eval("gate", root, "--baseline", baseline)
    assert result.code == 3
    assert "1 of 4 samples of the run failed" in result.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--rule", "psrn>=0"], "did you mean 'psnr'?"),
        (["--rule", "psnr>=23"], "give the amount a sign"),
        (["--rules", "nowhere.toml"], "cannot be read"),
        (["--update-baseline", "--rule", "psnr"], "checks nothing"),
    ],
)
def test_wrong_usage_is_one_line(
    uwt_eval: CommandLine, tmp_path: Path, baseline: Path, words: list[str], text: str
) -> None:
    result = uwt_eval("gate", run_with(tmp_path / "new", 23.0), "--baseline", baseline, *words)
    assert result.code == 2
    assert text in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(("option", "ending"), [("--markdown", ".md"), ("--junit", ".xml")])
def test_a_summary_never_replaces_a_file_of_another_kind(
    uwt_eval: CommandLine, tmp_path: Path, baseline: Path, option: str, ending: str
) -> None:
    run, before = run_with(tmp_path / "run", 23.0), baseline.read_bytes()
    result = uwt_eval("gate", run, "--baseline", baseline, option, baseline)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {option} {baseline}: end its name in {ending}\n"
    assert baseline.read_bytes() == before


def test_a_missing_baseline_is_wrong_usage(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval("gate", run_with(tmp_path, 23.0), "--baseline", tmp_path / "nowhere.json")
    assert result.code == 2
    way = "is not there: the same command with --update-baseline makes it of the results"
    assert result.err == f"error: baseline {tmp_path / 'nowhere.json'} {way}\n"


def test_summaries(
    uwt_eval: CommandLine,
    tmp_path: Path,
    baseline: Path,
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    rules = tmp_path / "gate.toml"
    rules.write_text('rules = ["psnr>=-0.05", "rfid"]\n', encoding="utf-8")
    root = run_with(tmp_path / "new", 22.0)
    for _ in range(2):
        result = uwt_eval(
            *("gate", root, "--baseline", baseline, "--rules", rules, "--rule", "rfid<=+1%"),
            *("--markdown", tmp_path / "gate.md", "--junit", tmp_path / "gate.xml"),
        )
        assert result.code == 1
    summary = (tmp_path / "gate.md").read_text(encoding="utf-8")
    assert summary == snapshot(name="markdown")
    assert (tmp_path / "gate.xml").read_text(encoding="utf-8") == snapshot(name="junit")
    assert (tmp_path / "step.md").read_text(encoding="utf-8") == 2 * (summary + "\n")


def test_names_are_harmless_in_every_summary(uwt_eval: CommandLine, tmp_path: Path) -> None:
    name = 'a|b <script>alert(1)</script>\n"`&]]>'
    root = write_run(tmp_path / "new", name)
    old = write_run(tmp_path / "old", name)
    result = uwt_eval(
        *("gate", root, "--baseline", old),
        *("--markdown", tmp_path / "gate.md", "--junit", tmp_path / "gate.xml"),
    )
    assert result.code == 0, result.err
    summary = (tmp_path / "gate.md").read_text(encoding="utf-8")
    assert "<script" not in summary
    assert r"a\|b" in summary
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()[0]
    assert suite.attrib["name"].startswith('imagenet-recon a|b <script>alert(1)</script> "`&]]>')
    assert suite.attrib["tests"] == "1"


def test_several_runs_are_matched_by_name(uwt_eval: CommandLine, tmp_path: Path) -> None:
    old = [write_run(tmp_path / "old", name) for name in ("a", "b")]
    write_run(tmp_path / "new", "a")
    write_run(tmp_path / "new", "c")
    file = write_record(tmp_path / "baseline.json", [read_record(root) for root in old])
    result = uwt_eval("gate", tmp_path / "new", "--baseline", file, "--json")
    assert result.code == 3
    facts = json.loads(result.out)
    assert [check["outcome"] for check in facts["checks"]] == ["pass", "incomplete"]
    assert len(facts["not_in_baseline"]) == 1
    shutil.rmtree(next((tmp_path / "new").glob("*-a-*")))
    write_run(tmp_path / "new", "d")
    assert uwt_eval("gate", tmp_path / "new", "--baseline", file).code == 2


def test_twins_that_the_baseline_does_not_know_are_named(
    uwt_eval: CommandLine, tmp_path: Path, baseline: Path
) -> None:
    run_with(tmp_path / "new", 23.0)
    for n in (2, 3):
        write_run(tmp_path / "new", "other", columns={"psnr": [20.0] * n})
    result = uwt_eval("gate", tmp_path / "new", "--baseline", baseline, "--json")
    assert (result.code, len(json.loads(result.out)["not_in_baseline"])) == (0, 2), result.err
    write_run(tmp_path / "new", "toy", columns={"psnr": [20.0] * 2})
    refused = uwt_eval("gate", tmp_path / "new", "--baseline", baseline)
    assert (refused.code, "give one of them" in refused.err) == (2, True)


def test_a_summary_of_many_runs_shows_those_that_need_a_look(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    for index in range(22):
        write_run(tmp_path / "old", f"m{index}")
        figures = [10.0, 11.0, 12.0, 13.0] if index == 7 else [20.0, 21.0, 22.0, 23.0]
        write_run(tmp_path / "new", f"m{index}", columns={"psnr": figures})
    summary = tmp_path / "gate.md"
    words = ("gate", tmp_path / "new", "--baseline", tmp_path / "old", "--markdown", summary)
    assert uwt_eval(*words).code == 1
    text = summary.read_text(encoding="utf-8")
    assert "21 of 22 runs passed every rule" in text
    assert "**m7**" in text
    assert text.count("| rule |") == 1


def test_update_baseline_makes_replaces_and_keeps(uwt_eval: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "gates" / "baseline.json"
    root = run_with(tmp_path / "one", 22.0)
    result = uwt_eval("gate", root, "--baseline", file, "--update-baseline")
    assert (result.code, result.out) == (0, f"{file}: 0 records replaced, 1 new\n")
    assert uwt_eval("gate", root, "--baseline", file).code == 0
    other = write_run(tmp_path / "other", "other")
    uwt_eval("gate", other, "--baseline", file, "--update-baseline")
    better = run_with(tmp_path / "two", 25.0)
    result = uwt_eval("gate", better, "--baseline", file, "--update-baseline")
    assert "1 record replaced, 0 new" in result.out
    records = json.loads(file.read_text())
    assert [record["model"] for record in records] == ["toy", "other"]
    assert records[0]["metrics"]["psnr"]["value"] == 25.0
    kept = file.with_suffix(".samples.parquet")
    assert sorted(file.parent.iterdir()) == [file, kept]


def test_an_edited_baseline_is_refused_without_its_samples_too(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    file, root = tmp_path / "baseline.json", run_with(tmp_path / "one", 22.0)
    done = uwt_eval("gate", root, "--baseline", file, "--update-baseline", "--json")
    assert json.loads(done.out) == {"baseline": str(file), "replaced": 0, "new": 1}
    file.with_suffix(".samples.parquet").unlink()
    assert uwt_eval("gate", root, "--baseline", file).code == 0
    file.write_text(file.read_text().replace("22.0", "12.0"))
    done = uwt_eval("gate", root, "--baseline", file)
    assert (done.code, "checksum differs" in done.err) == (2, True), done.err


def test_a_baseline_without_a_checksum_is_believed_and_told(
    uwt_eval: CommandLine, tmp_path: Path, baseline: Path
) -> None:
    root = run_with(tmp_path / "one", 23.0)
    done = uwt_eval("gate", root, "--baseline", baseline)
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert f"baseline {baseline} has no checksum" in done.err
    assert "--update-baseline` writes one" in done.err
    uwt_eval("gate", root, "--baseline", baseline, "--update-baseline")
    assert uwt_eval("gate", root, "--baseline", baseline).err == ""


def test_no_baseline_is_made_of_an_incomplete_run(uwt_eval: CommandLine, tmp_path: Path) -> None:
    root = write_run(tmp_path, failed={0: "model_error"})
    file = tmp_path / "baseline.json"
    result = uwt_eval("gate", root, "--baseline", file, "--update-baseline")
    assert result.code == 2
    assert "incomplete" in result.err
    assert not file.exists()


def test_a_baseline_that_cannot_be_written_is_one_line(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "baseline.json"
    result = uwt_eval("gate", write_run(tmp_path), "--baseline", target, "--update-baseline")
    assert result.code == 2
    assert "cannot write" in result.err


def test_no_word_is_said_twice(uwt_eval: CommandLine, tmp_path: Path, baseline: Path) -> None:
    more = write_run(tmp_path / "more", "toy", columns={"psnr": [22.0, 23.0, 23.0, 23.0, 24.0]})
    out = uwt_eval("gate", more, "--baseline", baseline).out
    assert "  not comparable: dataset: " in out
    root = run_with(tmp_path / "new", 23.0)
    change_record(root, status="incomplete", n_failed=1, failures={"model_error": 1})
    assert "  incomplete: 1 of 4 samples" in uwt_eval("gate", root, "--baseline", baseline).out


def test_a_baseline_of_another_model_is_named_once(uwt_eval: CommandLine, tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", "webp", columns={"psnr": [22.0, 23.0, 23.0, 24.0]})
    new = write_run(tmp_path / "new", "jpeg", columns={"psnr": [20.0, 21.0, 21.0, 22.0]})
    summary = tmp_path / "gate.md"
    out = uwt_eval("gate", new, "--baseline", old, "--markdown", summary).out
    head, check, _ = out.splitlines()
    assert head == f"jpeg: {new.name}, against the baseline of webp"
    assert check.startswith("  regression: PSNR ↑ 23.00 to 21.00: −2.000, bound")
    assert "(n=4, seed 0), against **webp**" in summary.read_text(encoding="utf-8")
    suite = tmp_path / "gate.xml"
    told = uwt_eval("gate", new, "--baseline", old, "--junit", suite, "--json").out
    assert json.loads(told)["against"] == "webp"
    (named,) = ElementTree.parse(suite).iter("property")
    assert named.attrib == {"name": "baseline", "value": "webp"}
    ruled = uwt_eval("gate", new, "--baseline", old, "--rule", "psnr>=-0.05").out
    assert "  regression: psnr>=-0.05: PSNR ↑ 23.00 to" in ruled
    own = write_run(tmp_path / "own", "jpeg", columns={"psnr": [20.0, 21.0, 21.0, 22.0]})
    assert "against" not in uwt_eval("gate", new, "--baseline", own).out


def test_few_pairs_are_told_in_every_output(uwt_eval: CommandLine, tmp_path: Path) -> None:
    for n, told in ((4, True), (10, False)):
        runs = [
            write_run(tmp_path / f"{n}-{name}", columns={"psnr": [at + shift for at in range(n)]})
            for name, shift in (("old", 20.0), ("new", 20.5))
        ]
        summary = tmp_path / "summary.md"
        words = ("gate", runs[1], "--baseline", runs[0], "--markdown", summary)
        for text in (uwt_eval(*words).out, uwt_eval(*words, "--json").out, summary.read_text()):
            assert ("only 4 pairs: Student's t" in text) is told


def test_metrics_that_the_baseline_lacks_are_named_in_every_output(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, rfid in ((old, None), (new, 3.0)):
        run_with(folder / "toy", 23.0, rfid)
        write_run(folder / "other", "other", sets={"rfid": cell(3.0)})
    missing = "not computed: weights 'inception' missing"
    root = next((old / "toy").iterdir())
    metrics = json.loads((root / "record.json").read_text())["metrics"]
    absent = {"value": None, "n": 0, "higher_is_better": False, "status": missing}
    change_record(root, metrics=metrics | {"rfid": absent})
    told = "rFID of toy: the baseline has no value, --update-baseline gives it the run's"
    files = ("--markdown", tmp_path / "gate.md", "--junit", tmp_path / "gate.xml")
    result = uwt_eval("gate", new, "--baseline", old, *files)
    assert result.code == 0, result.out + result.err
    assert result.out.splitlines()[-2:] == [f"not checked: {told}", "gate passed"]
    assert f"Not checked: {told}" in (tmp_path / "gate.md").read_text(encoding="utf-8")
    suites = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert {suite.get("skipped"): suite.get("tests") for suite in suites} == {None: "2", "1": "2"}
    (case,) = suites.findall(".//testcase[skipped]")
    assert case.get("name") == "rfid"
    (run,) = (new / "toy").iterdir()
    facts = json.loads(uwt_eval("gate", new, "--baseline", old, "--json").out)
    assert facts["metrics_not_in_baseline"] == {run.name: ["rfid"]}

    alone = uwt_eval("gate", new / "toy", "--baseline", old / "toy").out
    assert f"not checked: {told.replace(' of toy', '')}" in alone
    # Rules choose what counts, and what the baseline alone has is incomplete.
    ruled = uwt_eval("gate", new, "--baseline", old, "--rule", "psnr")
    assert "not checked" not in ruled.out
    back = uwt_eval("gate", old, "--baseline", new)
    assert back.code == 3
    assert f"incomplete: rfid: the run has no value: {missing}" in back.out
