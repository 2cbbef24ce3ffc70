"""`list presets` and `show PRESET`."""

from __future__ import annotations

import json

from tests.conftest import CommandLine


def test_list_names_every_preset_with_its_title(uwt_eval: CommandLine) -> None:
    result = uwt_eval("list", "presets", "--json")
    assert result.code == 0
    listed = json.loads(result.out)["presets"]
    assert {f"table{number}" for number in range(14, 34)} <= listed.keys()
    assert {"stage1", "stage2", "stage3", "uniwetok-256-imagenet"} <= listed.keys()
    assert listed["table31"] == "CNN alone"


def test_show_sets_the_preset_beside_the_papers_table(uwt_eval: CommandLine) -> None:
    result = uwt_eval("show", "table14")
    assert result.code == 0
    assert "paper, Tab. 14" in result.out
    marked = [line.split() for line in result.out.splitlines() if "≠" in line]
    assert marked == [["distill", "head", "linear", "-", "≠"]]
    row = next(line.split() for line in result.out.splitlines() if "global batchsize" in line)
    assert row == ["global", "batchsize", "128", "128"]
    assert "- SigLu is off here" in result.out
    assert "paper, Tab. 1, without PPD and GAP:" in result.out
    assert "rFID 1.33" in result.out


def test_show_does_not_break_long_values(uwt_eval: CommandLine) -> None:
    assert uwt_eval("show", "table16").out.count("ViT-SO400M-16-SigLIP2-384") == 2


def test_show_of_what_the_paper_does_not_print(uwt_eval: CommandLine) -> None:
    result = uwt_eval("show", "stage3")
    assert result.code == 0
    assert "paper, Tab." not in result.out
    assert "≠" not in result.out
    assert "needs --set init=…" in result.out


def test_show_of_a_group(uwt_eval: CommandLine) -> None:
    assert "coco-recon, coco-recon-native, imagenet-recon" in uwt_eval("show", "table10").out


def test_show_as_json(uwt_eval: CommandLine) -> None:
    facts = json.loads(uwt_eval("show", "table16", "--json").out)
    assert facts["config"]["model"]["attention_blocks"] == 16
    assert facts["published"]["source"] == "Tab. 16"
    assert facts["published"]["results"][0]["values"]["gfid"] == 2.35
    assert not any(setting["differs"] for setting in facts["settings"])


def test_unknown_name_gives_the_nearest_names_alone(uwt_eval: CommandLine) -> None:
    result = uwt_eval("show", "nosuch")
    assert result.code == 2
    assert len(result.err) < 200


def test_unknown_name_suggests_presets_too(uwt_eval: CommandLine) -> None:
    result = uwt_eval("show", "tabel16")
    assert result.code == 2
    assert "did you mean 'table16'" in result.err
