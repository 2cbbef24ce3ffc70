"""The paper's rivals: their data, `uwt-eval reproduce table8 …`, and `docs/rivals.md`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.engine.models import ModelChoice
from harness.interfaces import offers
from harness.interfaces.registry import TASKS
from reports.paper import load_table
from reports.rivals import STATUSES, Rival, load_rivals
from reports.tables.filled import COMPARISONS
from tests.conftest import CommandLine
from tests.reports import rivals_document
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

RIVALS = load_rivals()


def test_every_rival_row_of_the_paper_has_one_entry() -> None:
    rows = [
        (number, row["method"])
        for number in COMPARISONS
        for row in load_table(number)["rows"]
        if not row.get("ours")
    ]
    assert [(rival.table, rival.row["method"]) for rival in RIVALS] == rows
    assert len(rows) == 99
    assert len({(rival.table, rival.name) for rival in RIVALS}) == 99


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: f"{rival.table}-{rival.name}")
def test_an_entry_says_what_its_status_needs(rival: Rival) -> None:
    assert rival.status in STATUSES
    assert rival.tasks
    assert set(rival.tasks) <= set(TASKS.names())
    assert bool(rival.model) == (rival.status in {"command", "served"})
    assert bool(rival.weights) == (rival.status != "none")
    assert rival.status != "files" or rival.code
    assert rival.status != "none" or rival.note
    assert (rival.status == "served") == rival.model.startswith("openai-")
    assert rival.repository in rival.model or rival.status in {"files", "none"}
    assert "?" not in rival.repository or rival.status == "files"


@pytest.mark.parametrize("rival", [rival for rival in RIVALS if rival.model], ids=lambda r: r.name)
def test_a_command_is_of_a_model_that_ships_and_fits(rival: Rival) -> None:
    model = ModelChoice.parse(rival.model).build()
    for task in rival.tasks:
        assert any(offers(model, each) for each in TASKS.get(task).spec.interfaces), task


def test_the_document_is_made_of_the_data() -> None:
    text = rivals_document.DOCUMENT.read_text(encoding="utf-8")
    assert text == rivals_document.updated(text)


def test_a_plan_as_json(uwt_eval: CommandLine) -> None:
    result = uwt_eval("reproduce", "table8", "--dry-run", "--json")
    assert result.code == 0, result.err
    plan: list[dict[str, Any]] = json.loads(result.out)
    assert [row["name"] for row in plan][:4] == ["VQGAN", "SD-VQGAN", "MaskGIT", "ReVQ 65536"]
    assert plan[3]["status"] == "files"
    assert plan[3]["command"] == "uwt-eval run imagenet-recon --images DIR --label 'ReVQ 65536'"
    assert plan[0]["samples"] == {"imagenet-recon": 50000}
    assert plan[10]["model"].startswith("wetok:TencentARC/Open-MAGVIT2-Tokenizer-256-resolution")
    assert {row["table"] for row in plan} == {8}


def test_a_plan_for_people(uwt_eval: CommandLine) -> None:
    result = uwt_eval("reproduce", "table11", "--rows", "sdxl, Transfusion", "--dry-run")
    assert "SDXL · by one command" in result.out
    assert "2,212 images in geneval, 4,260 images in dpg" in result.out
    assert "Transfusion · not at all" in result.out
    assert "2 rows: 1 by one command, 1 not at all" in result.out
    few = uwt_eval("reproduce", "table8", "--rows", "GigaTok", "--dry-run", "--limit", 5)
    assert "images of the code of SilentView/GigaTok" in few.out
    assert "  5 images in imagenet-recon" in few.out


def test_what_several_tasks_lack_is_one_line(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "1")
    words = ("--rows", "Fuyu-8B(HD)", "--device", "cpu", "--out", tmp_path, "--quiet")
    result = uwt_eval("reproduce", "table12", *words)
    (line,) = [each for each in result.out.splitlines() if "missing" in each]
    assert line.startswith("  missing: pope, vqav2, ai2d, mmmu: adept/fuyu-8b: there is no such")


def test_weights_that_have_to_be_fetched_are_said(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = uwt_eval("reproduce", "table8", "--rows", "VQGAN", "--device", "cpu", "--quiet")
    assert result.code == 3
    assert "fetch checkpoints/last.ckpt before by the link in the README" in result.out
    assert "0 of 1 rows measured" in result.out


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with tiny weights of Open-MAGVIT2's form where the repository would be."""
    folder = tmp_path / "weights" / "TencentARC" / "Open-MAGVIT2-Tokenizer-256-resolution"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = UniWeTokConfig.wetok(
        channels=32, channel_multipliers=(1, 1, 1, 1, 1), num_res_blocks=1,
        latent_channels=18, groups=1, generative=False,
    )  # fmt: skip
    state = UniWeTok(config).state_dict()
    torch.save({"epoch": 1, "state_dict": state}, folder / "imagenet_256_L.ckpt")
    return tmp_path / "weights"


def test_ours_stand_beside_the_printed_figures(
    uwt_eval: CommandLine, weights: Path, photo_folder: Path, tmp_path: Path
) -> None:
    words = (
        *("reproduce", "table8", "--rows", "Open-MAGVIT2,FlexTok,TiTok", "--weights", weights),
        *("--data", f"imagenet-recon={photo_folder}", "--limit", 2, "--device", "cpu"),
        *("--out", tmp_path / "runs"),
    )
    shown = uwt_eval(*words, "--quiet")
    assert shown.code == 0, shown.err
    assert "missing: images of the code of apple/ml-flextok, which `uwt-eval run" in shown.out
    assert "1 of 3 rows measured" in shown.out
    assert "missing: the released TiTok of 256 tokens" in shown.out
    assert "note: imagenet-recon: 2 samples, the paper's set has 50,000" in shown.out
    assert "Open-MAGVIT2 · Table 8 · not comparable" in shown.out
    again = json.loads(uwt_eval(*words, "--json").out)
    (psnr,) = [each for row in again for each in row["figures"] if each["metric"] == "psnr"]
    assert psnr["printed"] == 22.64
    assert psnr["difference"] == pytest.approx(psnr["measured"] - 22.64)
    assert psnr["shown"][0] == "22.64"
    assert all(text in shown.out for text in psnr["shown"])
    (record,) = tmp_path.glob("runs/*/record.json")
    assert json.loads(record.read_text())["metrics"]["psnr"]["value"] == psnr["measured"]


def test_a_folder_without_the_weights_is_said(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "1")
    words = ("reproduce", "table8", "--rows", "LlamaGen", "--device", "cpu", "--quiet")
    refused = uwt_eval(*words, "--weights", tmp_path / "nothere", "--out", tmp_path / "runs")
    assert refused.code == 2
    assert refused.err.strip().endswith("nothere: there is no such folder")
    shown = uwt_eval(*words, "--weights", tmp_path, "--out", tmp_path / "runs")
    assert f"note: --weights {tmp_path} has no " in shown.out
    assert "and was not used" in shown.out


def test_weights_in_a_folder_take_the_repositorys_place(tmp_path: Path) -> None:
    (cosmos,) = [rival for rival in RIVALS if rival.name == "Cosmos original"]
    assert cosmos.model_in(tmp_path) == cosmos.model
    place = tmp_path / "Cosmos-Tokenizer-DI16x16"
    place.mkdir()
    files = f"{place}/encoder.jit,{place}/decoder.jit"
    assert cosmos.model_in(tmp_path) == f"torchscript:{files}?codebook=64000"


def test_what_cannot_be_had_is_one_line_and_the_next_row_goes_on(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, photo_folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("UWT_EVAL_OFFLINE", "1")
    result = uwt_eval(
        *("reproduce", "table10", "--rows", "SD-VAE 1.x,WeTok", "--json"),
        *("--data", photo_folder, "--out", tmp_path / "runs", "--device", "cpu"),
    )
    assert result.code == 3
    rows = json.loads(result.out)
    assert [row["name"] for row in rows].count("SD-VAE 1.x") == 1
    assert len(rows) == 5
    for row in rows:
        assert len(row["missing"]) == len(row["tasks"]), row
        assert not any("\n" in line for line in row["missing"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("table88",), "unknown table 'table88': did you mean 'table8'"),
        (("table1",), "`uwt-eval run table1 --checkpoints DIR`"),
        (("mini-ablation",), "did you mean 'mini-ablations'"),
        (("table8", "--rows", "Titok-L"), "--rows Titok-L: no rival of that name, did you mean 'T"),
    ],
)
def test_an_unknown_name_is_one_line(
    uwt_eval: CommandLine, words: tuple[str, ...], hint: str
) -> None:
    result = uwt_eval("reproduce", *words, "--dry-run")
    assert result.code == 2
    assert hint in result.err
    assert len(result.err.splitlines()) == 1
