"""`uwt-eval run SUITE` and `init`: what a file says, what the command line says, and the gates."""

from __future__ import annotations

import io
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from harness.commands.suite import read_suite, requests_of
from harness.engine.models import ModelChoice
from tests.conftest import REPOSITORY, CommandLine

SUITE = """
tasks = ["imagenet-recon"]
models = ["webp", { name = "jpeg", argument = 2048 }]
data = "photos"
protocols = ["exact"]
metrics = ["bpp", "psnr"]
limit = 2
out = "made"
"""


@pytest.fixture
def suite(tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite in a folder that is not the working directory."""
    folder = tmp_path / "job"
    folder.mkdir()
    photo_folder.rename(folder / "photos")
    (folder / "suite.toml").write_text(SUITE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder / "suite.toml"


def more(suite: Path, text: str) -> None:
    suite.write_text(suite.read_text() + text)


def test_paths_are_of_the_file_and_options_win(uwt_eval: CommandLine, suite: Path) -> None:
    found = json.loads(uwt_eval("run", suite, "--json").out)
    assert [record["model"] for record in found["records"]] == ["webp", "jpeg:2048"]
    assert {record["n"] for record in found["records"]} == {2}
    assert found["gates"] == []
    assert len(list((suite.parent / "made").glob("*/record.json"))) == 2
    again = ("--model", "webp:3000", "--limit", "1", "--out", "mine", "--seed", "3")
    (record,) = json.loads(uwt_eval("run", suite, "--json", *again).out)["records"]
    assert (record["model"], record["n"], record["seed"]) == ("webp:3000", 1, 3)
    assert len(list(Path("mine").glob("*/record.json"))) == 1


def test_runs_inherit_and_each_is_planned_once(uwt_eval: CommandLine, suite: Path) -> None:
    more(suite, '[[runs]]\n[[runs]]\nmodels = ["webp"]\nseeds = [0, 1]\nprotocols = ["wetok"]\n')
    more(suite, '[[runs]]\nmodels = ["webp"]\n')
    plans = json.loads(uwt_eval("run", suite, "--dry-run", "--json").out)
    assert [
        (plan["model"], plan["protocol"], plan["request"]["seed"]) for plan in plans
    ] == [
        *(("webp", "exact", 0), ("jpeg:2048", "exact", 0)),
        *(("webp", "wetok", 0), ("webp", "wetok", 1)),
    ]  # fmt: skip
    plans = uwt_eval("run", suite, "--dry-run", "--json", "--seed", "5", "--protocol", "exact")
    assert {plan["request"]["seed"] for plan in json.loads(plans.out)} == {5}


def test_a_models_weights_lie_beside_the_file(suite: Path) -> None:
    (suite.parent / "made & kept").mkdir()
    models = """[[runs]]
    data = "hf:owner/photos@validation"
    models = [
        { name = "images", argument = "made & kept", options = { label = "a b", sides = [1, 2] } },
        "images:made & kept?reference=photos&dtype=bfloat16",
        "webp:gone",
    ]"""
    more(suite, models)
    requests = requests_of(read_suite(suite), Path("runs"), fresh=False)
    assert {request.data for request in requests} == {"hf:owner/photos@validation"}
    first, second, third = (ModelChoice.parse(request.model) for request in requests)
    made = str(suite.parent / "made & kept")
    assert (first.argument, first.options) == (made, {"label": "a b", "sides": "[1, 2]"})
    photos = str(suite.parent / "photos")
    assert second.options == {"reference": photos, "dtype": "bfloat16"}
    assert (second.argument, third.text) == (made, "webp:gone")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limt = 3", "'limt' is unknown: did you mean 'limit'?"),
        ('[[runs]]\ntaks = ["x"]', "'runs.taks' is unknown: did you mean 'tasks'"),
        ("[[gates]]\nrules = []", "'gates.baseline' is missing"),
        ('device = 3', "'device' cannot be 3: input should be a valid string"),
        ('[[runs]]\nmodels = [{ name = "webp", option = {} }]', "did you mean 'options'?"),
        ('[[runs]]\ntasks = ["imagenet-reco"]', "imagenet-recon"),
        ('[[gates]]\nbaseline = "b.json"\nrules = ["psnr>0"]', "rule 'psnr>0' is not understood"),
        ('[[gates]]\nbaseline = "b.json"', "the same command with --update-baseline makes it"),
        ("limit = 3", "Cannot overwrite a value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_before_anything_is_run(
    uwt_eval: CommandLine, suite: Path, text: str, said: str
) -> None:
    more(suite, text)
    done = uwt_eval("run", suite)
    assert done.code == 2
    assert said.replace(" ", "") in re.sub(r"\s", "", done.err)
    assert not (suite.parent / "made").exists()


def test_a_suite_stands_alone(uwt_eval: CommandLine, suite: Path) -> None:
    for words in ((suite, "imagenet-recon"), ("imagenet-recon", "--update-baseline")):
        assert uwt_eval("run", *words).code == 2
    assert "cannot be read" in uwt_eval("run", "nowhere.toml").err


def test_gates_decide_the_exit_code(uwt_eval: CommandLine, suite: Path) -> None:
    more(suite, '[[gates]]\nbaseline = "gates/base.json"\nrules = ["psnr>=-0.05"]\n')
    made = uwt_eval("run", suite, "--update-baseline")
    assert made.code == 0
    assert "2 new" in made.out
    assert "gate passed" in uwt_eval("run", suite).out
    baseline = suite.parent / "gates" / "base.json"
    records = json.loads(baseline.read_text())
    (suite.parent / "gates" / "base.samples.parquet").unlink()
    one = next(record for record in records if record["model"] == "webp")
    one["metrics"]["psnr"]["value"] += 1
    one["run_id"] = "another"
    for record in records:
        record["provenance"].pop("sha256")
    baseline.write_text(json.dumps(records))
    done = uwt_eval("run", suite, "--json")
    assert done.code == 1, done.err
    (verdict,) = json.loads(done.out)["gates"]
    assert [check["outcome"] for check in verdict["checks"]].count("regression") == 1
    assert uwt_eval("run", suite, "--limit", "1").code == 2  # Other samples do not compare.


def test_the_cost_is_that_of_earlier_runs_or_unknown(uwt_eval: CommandLine, suite: Path) -> None:
    uwt_eval("run", suite, "--model", "webp")
    plan, unknown = json.loads(uwt_eval("run", suite, "--limit", "4", "--dry-run", "--json").out)
    rate = plan["images_per_second"]
    assert plan["model_seconds"] == pytest.approx(4 / rate)
    assert (unknown["images_per_second"], unknown["model_seconds"]) == (None, None)
    (done, _) = json.loads(uwt_eval("run", suite, "--dry-run", "--json").out)
    assert (done["n_missing"], done["model_seconds"]) == (0, 0)
    text = uwt_eval("run", suite, "--limit", "4", "--dry-run").out
    assert "of the model's own time on one core" in text
    assert "time unknown" in text
    assert "2 runs, 8 samples still to do" in text
    assert "1 run of unknown time" in text


def test_init_asks_and_never_overwrites(
    uwt_eval: CommandLine, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["imagenet-reco", "imagenet-recon", "../job/photos", "webp, jpeg", "base.json"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(answers) + "\n"))
    (suite.parent.parent / "new").mkdir()
    file = Path("../new/asked.toml")
    done = uwt_eval("init", file)
    assert done.code == 0, done.err
    assert "did you mean" in done.err
    assert tomllib.loads(file.read_text()) == {
        "tasks": ["imagenet-recon"],
        "models": ["webp", "jpeg"],
        "data": "../job/photos",
        "out": "runs",
        "gates": [{"baseline": "../elsewhere/base.json"}],
    }
    written = file.read_text()
    again = uwt_eval("init", file, "--yes")
    assert again.code == 2
    assert "stays as it is" in again.err
    assert file.read_text() == written
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "--yes" in uwt_eval("init", "other.toml").err
    assert not Path("other.toml").exists()


@pytest.mark.usefixtures("suite")
def test_the_documented_commands_run(uwt_eval: CommandLine) -> None:
    text = (REPOSITORY / "docs" / "suites.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    Path("table.toml").write_text(table, encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("uwt-eval ")]
    assert len(commands) == 5
    for command in commands:
        done = uwt_eval(*shlex.split(command)[1:])
        assert done.code == 0, done.err
    assert "gate passed" in done.out


def test_shards_are_merged_then_judged(uwt_eval: CommandLine, suite: Path) -> None:
    """Each machine does its part of every run; gates wait for the results."""
    more(suite, '[[gates]]\nbaseline = "gates/base.json"\nrules = ["psnr>=-0.05"]\n')
    refused = uwt_eval("run", suite, "--shard", "1/2", "--update-baseline")
    assert refused.code == 2
    assert "makes no result" in refused.err
    (alone,) = [json.loads(uwt_eval("run", suite, "--update-baseline", "--json", "--out", "a").out)]
    for number in ("1", "2"):
        done = uwt_eval("run", suite, "--shard", f"{number}/2", "--out", f"shard-{number}")
        assert done.code == 0, done.err
        assert "gates judge results, not shards" in done.err
    roots = sorted(Path().glob("shard-*/*"))
    assert len(roots) == 4
    lacking = uwt_eval("merge", *roots[1:], "--out", "merged")
    assert lacking.code == 2
    assert f"{roots[0].name}: " in lacking.err
    merged = json.loads(uwt_eval("merge", "shard-1", "shard-2", "--out", "merged", "--json").out)
    metrics = {record["model"]: record["metrics"] for record in alone["records"]}
    assert {record["model"]: record["metrics"] for record in merged} == metrics
    made = {path: path.stat().st_mtime_ns for path in Path("merged").glob("*/outputs/*")}
    judged = uwt_eval("run", suite, "--out", "merged")
    assert judged.code == 0, judged.err
    assert "gate passed" in judged.out
    assert {path: path.stat().st_mtime_ns for path in made} == made
