"""What a machine has, and what is chosen by it."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import CommandLine
from tests.uniwetok.train.tiny import TINY, needs_measuring
from uniwetok.train import TrainingError
from uniwetok.train.engine import machine, plan
from uniwetok.train.engine.checkpoints import CONFIG_FILE, settle
from uniwetok.train.engine.machine import GPUS, H100, decide, here, planned_for
from uniwetok.train.engine.overrides import to_dict
from uniwetok.train.engine.settings import RunSettings
from uniwetok.train.tokenizer import plan as tokenizer_plan

CPU = replace(here("cpu"), bfloat16=False)
AUTO = replace(TINY, precision="auto")


def test_bfloat16_is_chosen_where_there_are_units_for_it() -> None:
    assert RunSettings().precision == "auto"
    for processor, expected in (
        (H100, "bfloat16"),
        (GPUS["v100"], "float32"),
        (CPU, "float32"),
        (replace(CPU, bfloat16=True), "bfloat16"),
    ):
        config, reasons = decide(RunSettings(), processor)
        assert config.precision == expected
        assert processor.name in reasons["precision"]
    assert decide(RunSettings(precision="float16"), H100)[0].precision == "float16"


@pytest.mark.parametrize(
    ("capability", "there", "expected", "said"),
    [
        ((9, 0), {"triton", "cc"}, True, "is a GPU that Triton compiles for"),
        ((7, 0), {"triton", "gcc"}, True, "is a GPU that Triton compiles for"),
        ((6, 1), {"triton", "cc"}, False, "older than what Triton compiles for"),
        ((9, 0), {"cc"}, False, "Triton, which is not installed"),
        ((9, 0), {"triton"}, False, "C compiler, which is not installed"),
    ],
)
def test_networks_are_compiled_for_gpus_that_can(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    there: set[str],
    expected: bool,
    said: str,
) -> None:
    major, minor = capability
    facts = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=1, major=major, minor=minor)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(machine, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr(machine.shutil, "which", lambda name: name if name in there else None)
    config, reasons = decide(RunSettings(), here())
    assert config.compile is expected
    assert said in reasons["compile"]
    for chosen in (True, False):
        asked = RunSettings(compile=chosen, precision="float32")
        assert decide(asked, here()) == (asked, {})


def test_networks_are_compiled_for_gpus_that_are_planned_for_and_not_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(decide(RunSettings(), gpu)[0].compile for gpu in GPUS.values())
    assert decide(RunSettings(), CPU)[0].compile is False
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    config, reasons = decide(RunSettings(), here())
    assert config.compile is False
    assert reasons["compile"].startswith("Apple GPU")


def test_this_cpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    for tiles in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda tiles=tiles: tiles)
        assert here("cpu").bfloat16 is tiles
    assert here("cpu").memory > 10**8


def test_a_resumed_run_keeps_the_precision_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    config, notices = settle(AUTO, tmp_path, "cpu")
    assert config.precision == "float32"
    assert "no units for bfloat16" in notices[0]
    begun = to_dict(AUTO) | {"precision": "bfloat16"}
    begin(tmp_path, json.dumps(begun))
    with pytest.raises(TrainingError, match="precision=bfloat16, asked for is precision=float32"):
        settle(replace(AUTO, precision="float32"), tmp_path, "cpu")
    config, notices = settle(AUTO, tmp_path, "cpu")
    assert (config.precision, notices) == ("bfloat16", ["precision bfloat16: as the run began"])
    config, notices = settle(replace(AUTO, compile=None), tmp_path, "cpu")
    assert config.compile is False
    assert notices[1].startswith("compile false: this CPU")


def begin(out: Path, settings: str) -> None:
    """Make the folder of a run that has settings and a checkpoint."""
    (out / CONFIG_FILE).write_text(settings)
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "step-00000002.pt").touch()


def test_a_run_without_a_checkpoint_begins_anew_with_any_settings(tmp_path: Path) -> None:
    hot = replace(TINY, optimizer=replace(TINY.optimizer, learning_rate=1e30))
    (tmp_path / CONFIG_FILE).write_text(json.dumps(to_dict(hot)))
    assert settle(TINY, tmp_path, "cpu")[0] == TINY
    (tmp_path / CONFIG_FILE).write_text('{"architectures": ["Another"]}')
    with pytest.raises(TrainingError, match="holds a run with architectures="):
        settle(TINY, tmp_path, "cpu")


@pytest.mark.parametrize(
    ("decay", "steps", "told"),
    [(0.999, 60, "--set ema_decay=0.833"), (0.999, 6, "--set ema_decay=0)"), (0.9, 60, "")],
)
def test_averages_that_hold_the_random_start_are_told(
    tmp_path: Path, decay: float, steps: int, told: str
) -> None:
    _, notices = settle(replace(TINY, ema_decay=decay, steps=steps), tmp_path, "cpu")
    assert ("in part the random start" in str(notices)) is bool(told)
    assert told in str(notices)


@pytest.mark.parametrize("text", ["[1,2]", "3", "null", "{", "[" * 100_000, "\xff"])
def test_what_is_no_configuration_is_said(tmp_path: Path, text: str) -> None:
    begin(tmp_path, "{}")
    (tmp_path / CONFIG_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"config\.json: not a configuration .*another --out"):
        settle(TINY, tmp_path, "cpu")


def test_a_run_from_before_a_setting_was_added_goes_on_as_it_began(tmp_path: Path) -> None:
    bare = replace(TINY, loss=replace(TINY.loss, adversarial=None))
    values = to_dict(bare)
    for name in ("partition", "mixture"):
        del values["data"][name]
    begin(tmp_path, json.dumps(values))
    assert settle(bare, tmp_path, "cpu") == (bare, [])
    # As by a preset that partitions since.
    fixed = replace(bare, data=replace(bare.data, partition="fixed"))
    assert settle(fixed, tmp_path, "cpu") == (bare, ["data.partition=drawn: as the run began"])
    mixed = replace(bare, data=replace(bare.data, mixture=("a@1",)))
    with pytest.raises(TrainingError, match=r"data\.mixture=\[\], asked for is .*a@1"):
        settle(mixed, tmp_path, "cpu")
    # A part that the run was without is none that was added.
    with pytest.raises(TrainingError, match=r"loss\.adversarial"):
        settle(TINY, tmp_path, "cpu")


def test_the_machine_that_is_there_is_planned_for_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "here", lambda device: CPU)
    assert planned_for(None, None, "auto") == (CPU, 1)
    assert planned_for(None, 8, "auto") == (H100, 8)
    assert planned_for("A100", None, "auto") == (GPUS["a100"], 1)
    assert planned_for("t4", 2, "auto") == (GPUS["t4"], 2)
    card = replace(H100, name="NVIDIA L4", half_flops=None, single_flops=None)
    monkeypatch.setattr(machine, "here", lambda device: card)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert planned_for(None, None, "auto") == (card, 3)
    assert planned_for(None, 8, "auto") == (card, 8)
    with pytest.raises(TrainingError, match="--gpu h10: did you mean 'h100'"):
        planned_for("h10", None, "auto")


@needs_measuring
def test_the_dry_run_says_what_is_chosen_and_why(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(plan, "product_flops", lambda precision: 1e11)
    monkeypatch.setattr(tokenizer_plan, "measure", functools.cache(tokenizer_plan.measure))
    monkeypatch.setenv("COLUMNS", "160")
    given = ("train", "tokenizer", "--preset", "nano", "--dry-run")
    shown = uwt_eval(*given)
    assert shown.code == 0, shown.err
    for words in ("plan of nano on this CPU", "float32", "no units for bfloat16", "measured 0.1"):
        assert words in shown.out
    (compiled,) = (line.split() for line in shown.out.splitlines() if "compiled" in line)
    assert compiled[1] == "no"
    assert "GPU" not in shown.out
    facts = json.loads(uwt_eval(*given, "--json").out)
    assert (facts["precision"], facts["compiled"], facts["world"]) == ("float32", False, 1)
    assert set(facts["reasons"]) == {"precision", "compile"}
    forced = json.loads(uwt_eval(*given, "--compile", "--json").out)
    assert (forced["compiled"], set(forced["reasons"])) == (True, {"precision"})
    other = json.loads(uwt_eval(*given, "--gpus", "8", "--gpu", "h100", "--json").out)
    assert (other["precision"], other["compiled"], other["world"]) == ("bfloat16", True, 8)
    assert other["processor"] == "H100 SXM"


def test_products_are_measured() -> None:
    assert machine.product_flops("float32") > 1e6


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("Tesla T4", 65e12),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ],
)
def test_the_peak_of_a_gpu_is_known_by_its_drivers_name(
    monkeypatch: pytest.MonkeyPatch, name: str, peak: float | None
) -> None:
    facts = SimpleNamespace(name=name, total_memory=1, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert here().peak_flops("bfloat16") == peak
    assert here("cpu").peak_flops("bfloat16") is None


def test_every_gpu_that_can_be_planned_for_has_a_drivers_name() -> None:
    names = [gpu.driver_name for gpu in GPUS.values()]
    assert all(names)
    assert len(set(names)) == len(names)
