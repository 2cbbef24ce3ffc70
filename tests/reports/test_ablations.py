"""The paper's tables filled in from checkpoints, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.interfaces.registry import TABLES, TASKS, expand_tasks
from reports.ablations import AblationTable
from reports.paper import load_table
from tests.conftest import CommandLine
from tests.tasks.conftest import save_model, write_protocol


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Row 1 of Table 1, which has no heads, and row 3, which has."""
    for index, preset in enumerate(("table14", "table16")):
        folder = save_model(tmp_path / "trained" / preset / "model", seed=index)
        if preset == "table14":
            (folder / "distillation.json").unlink()
    return tmp_path / "trained"


def fill(
    uwt_eval: CommandLine, checkpoints: Path, photo_folder: Path, *more: object
) -> tuple[str, str]:
    protocol = write_protocol(checkpoints.parent)
    result = uwt_eval(
        "run", "table1", "--checkpoints", checkpoints, "--data", photo_folder, "--limit", 2,
        "--protocol", f"wetok,{protocol}", "--out", checkpoints.parent / "runs", *more,
    )  # fmt: skip
    assert result.code == 0, result.err
    return result.out, result.err


def test_table_has_the_papers_numbers_and_ours(
    uwt_eval: CommandLine, checkpoints: Path, photo_folder: Path
) -> None:
    out, err = fill(uwt_eval, checkpoints, photo_folder, "--json")
    filled = json.loads(out)
    (table,) = filled["tables"]
    records = {(record["task"], record["model"]): record for record in filled["records"]}
    assert set(records) == {
        ("imagenet-recon", "uniwetok:table14"),
        ("imagenet-recon", "uniwetok:table16"),
        ("imagenet-zeroshot", "uniwetok:table16"),
    }
    without, alone, full = (row["cells"] for row in table["rows"])
    psnr = records["imagenet-recon", "uniwetok:table14"]["metrics"]["psnr"]["value"]
    assert (without["psnr"]["paper"], without["psnr"]["value"]) == (22.67, psnr)
    top5 = records["imagenet-zeroshot", "uniwetok:table16"]["metrics"]["top5"]["value"]
    assert (full["top5"]["paper"], full["top5"]["value"]) == (0.7562, top5)
    assert full["top1_pre"]["value"] is not None
    assert without["top1"]["status"] == "not in the paper"
    assert {cell["status"] for metric, cell in alone.items()} == {
        f"no checkpoint at {checkpoints / 'table15' / 'model'}"
    }
    assert (alone["rfid"]["paper"], alone["rfid"]["value"]) == (1.12, None)
    assert full["gfid"]["status"].startswith("not computed: it needs an autoregressive model")
    assert "weights 'inception' missing" in full["rfid"]["status"]
    assert "table15/model" in "".join(err.split())


def test_printed_table_reads_as_the_papers(
    uwt_eval: CommandLine,
    checkpoints: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = fill(uwt_eval, checkpoints, photo_folder)
    lines = out.splitlines()
    assert lines[0].startswith("Table 1: Ablation study of semantic distillation and prior loss")
    printed = [" ".join(line.split()) for line in lines]
    assert "PPD GAP gFID↓ rFID↓ PSNR↑ SSIM↑ (A) (V) Top-1 Top-5 Top-10" in printed
    assert "✗ ✗ paper 2.38 1.33 22.67 0.66 0.11 0.20 - - -" in printed
    assert "✓ ✓ paper 2.35 1.18 22.27 0.63 0.12 0.22 48.77% 75.62% 83.84%" in printed
    assert sum(line.strip().startswith("ours ") for line in lines) == 3
    assert f"PPD: no checkpoint at {checkpoints / 'table15' / 'model'}" in out
    assert "paper: 50,000, protocol wetok: not comparable" in out
    assert "note: Without PPD there is no semantic head" in out
    assert out.count("written: ") == 3


def test_dry_run_plans_each_run_once(
    uwt_eval: CommandLine, checkpoints: Path, photo_folder: Path
) -> None:
    out, _ = fill(uwt_eval, checkpoints, photo_folder, "--dry-run", "--json")
    plans = [(plan["task"], plan["model"], plan["n_missing"]) for plan in json.loads(out)]
    assert plans == [
        ("imagenet-recon", "uniwetok:table14", 2),
        ("imagenet-recon", "uniwetok:table16", 2),
        ("imagenet-zeroshot", "uniwetok:table16", 2),
    ]
    assert not (checkpoints.parent / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["table1", "--checkpoints", "nowhere"], ["no checkpoint", "nowhere/table14/model"]),
        (["imagenet-recon", "--checkpoints", "nowhere"], ["published tables", "'imagenet-recon'"]),
        (["table1", "--checkpoints", "nowhere", "-m", "jpeg"], ["leave --model"]),
        (["table1", "--checkpoints", "nowhere", "--metrics", "psnr"], ["and --metrics out"]),
        (["table1", "-m", "jpeg", "--protocol", "wetok,exact"], ["says nothing about 'zeroshot'"]),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], texts: list[str], uwt_eval: CommandLine
) -> None:
    result = uwt_eval("run", *arguments)
    assert result.code == 2
    (line,) = result.err.strip().splitlines()
    for text in texts:
        assert text in line


@pytest.mark.parametrize("number", range(1, 8))
def test_every_column_has_a_task_or_a_reason(number: int) -> None:
    name = f"table{number}"
    table = TABLES.get("paper")[name]
    measured = {key for task in expand_tasks([name]) for key in TASKS.get(task).spec.metrics}
    assert set(load_table(number)["columns"]) - measured <= {"gfid"}
    runs = {(task, model.split("/")[-2]) for task, model in all_runs(table, Path("anywhere"))}
    for row in load_table(number)["rows"]:
        assert (("imagenet-zeroshot", row["preset"]) in runs) == ("top1" in row["values"])
        assert (("imagenet-recon", row["preset"]) in runs) == ("psnr" in row["values"])


def all_runs(table: AblationTable, checkpoints: Path) -> Any:
    """The runs if every checkpoint were there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: True)
        return table.runs(checkpoints)


def test_a_repeated_row_runs_once(tmp_path: Path) -> None:
    """Table 6 prints Tab. 29 twice."""
    runs = all_runs(TABLES.get("paper")["table6"], tmp_path)
    assert len(runs) == len(set(runs)) == 2 * 3
