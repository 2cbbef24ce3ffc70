"""Protocol files: merged from general to particular, and clear about what is wrong with one."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from harness.engine import protocols
from harness.interfaces.errors import UserError
from harness.interfaces.protocols import ProtocolSettings, check
from harness.interfaces.registry import FAMILIES, TASKS
from harness.interfaces.types import Stage, TaskSpec, digest_of

PROTOCOL = """
title = "Mine"
description = "What it is for."
[settings]
decode = { exif = "apply", alpha = "white", sixteen_bit = "scale" }
noise = "per-sample"
uint8 = "round"
reference_uint8 = "as-decoded"
network_input = "uint8"
averaging = { rule = "batch-means", batch_size = 1, world_size = 8 }
[kind.recon]
geometry = { resize = 256, crop = 256 }
averaging = { batch_size = 100 }
[kind.recon-native]
geometry = { min_side = 64 }
[task.coco-recon.averaging]
batch_size = 125
[task.imagenet-recon-native]
uint8 = "truncate"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "protocols"
    folder.mkdir()
    (folder / "mine.toml").write_text(PROTOCOL, encoding="utf-8")
    return folder


def spec(name: str = "imagenet-recon", kind: str = "recon") -> TaskSpec:
    return TaskSpec(
        name=name,
        version=1,
        title="",
        kind=kind,
        interface="VisualTokenizer",
        dataset="",
        layout="",
        metrics=(),
        protocols=("mine",),
    )


def refused(folder: Path, old: str, new: str) -> str:
    """What is said of the file with one change, without the file's name."""
    path = folder / "mine.toml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        protocols.load("mine", folder, spec())
    said = str(raised.value)
    assert "\n" not in said
    assert said.startswith(f"protocol file {path}")
    return said.removeprefix(f"protocol file {path}").removeprefix(", ").removeprefix(": ")


def test_kind_overrides_settings_key_by_key(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec())
    assert protocol.settings["averaging"] == {
        "rule": "batch-means",
        "batch_size": 100,
        "world_size": 8,
    }
    assert protocol.settings["geometry"] == {"resize": 256, "crop": 256}
    assert protocol.settings["uint8"] == "round"
    assert (protocol.name, protocol.title, protocol.description) == (
        "mine",
        "Mine",
        "What it is for.",
    )


def test_task_overrides_kind(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec("coco-recon"))
    assert protocol.settings["averaging"]["batch_size"] == 125


def test_other_kind_gets_its_own_settings(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec("imagenet-recon-native", "recon-native"))
    assert protocol.settings["geometry"] == {"min_side": 64}
    assert protocol.settings["averaging"]["batch_size"] == 1
    assert protocol.settings["uint8"] == "truncate"


def test_description_and_title_do_not_move_the_digest(folder: Path) -> None:
    before = protocols.load("mine", folder, spec()).digest
    text = PROTOCOL.replace("What it is for.", "Told better.").replace('"Mine"', '"Ours"')
    (folder / "mine.toml").write_text(text)
    assert protocols.load("mine", folder, spec()).digest == before


def test_comments_and_order_do_not_move_the_digest_but_settings_do(folder: Path) -> None:
    before = protocols.load("mine", folder, spec()).digest
    head, kinds = PROTOCOL.split("[kind.recon]")
    (folder / "mine.toml").write_text(
        f"# reordered\n[kind.recon]{kinds}[settings]{head.split('[settings]')[1]}"
        .replace("resize = 256, crop = 256", "crop = 256, resize = 256")
    )  # fmt: skip
    assert protocols.load("mine", folder, spec()).digest == before
    (folder / "mine.toml").write_text(PROTOCOL.replace("crop = 256", "crop = 255"))
    assert protocols.load("mine", folder, spec()).digest != before


def test_protocol_file_by_path(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.toml"
    path.write_text(PROTOCOL)
    protocol = protocols.load(str(path), folder, spec())
    assert protocol.name == "elsewhere"
    assert protocol.digest == protocols.load("mine", folder, spec()).digest


def test_title_defaults_to_the_name(folder: Path) -> None:
    (folder / "bare.toml").write_text(PROTOCOL.split("for.", 1)[1].removeprefix('"'))
    protocol = protocols.load("bare", folder, spec())
    assert (protocol.title, protocol.description) == ("bare", "")


def test_unknown_name_suggests(folder: Path) -> None:
    said = "unknown protocol 'mien' for task 'imagenet-recon': did you mean 'mine'"
    with pytest.raises(UserError, match=said):
        protocols.load("mien", folder, spec())


@pytest.mark.parametrize("name", ["mien.toml", "gone/mine.toml"])
def test_a_file_that_is_not_there_is_said_to_be_missing(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"protocol file {name}: there is no such file"):
        protocols.load(name, folder, spec())


@pytest.mark.parametrize("name", ["", "../mine", "protocols/mine", "/mine"])
def test_what_is_no_name_and_no_file_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"protocol '{name}' is no name, and no file that ends in"):
        protocols.load(name, folder / "protocols", spec())


def test_malformed_file_is_named(folder: Path) -> None:
    (folder / "mine.toml").write_text("[settings\nuint8 = 'round'")
    with pytest.raises(UserError, match=r"protocol file .*mine\.toml: .*line 1"):
        protocols.load("mine", folder, spec())


def test_file_that_is_not_text_is_named(folder: Path) -> None:
    (folder / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"protocol file .*mine\.toml"):
        protocols.load("mine", folder, spec())


def test_absent_kind_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="says nothing about 'c2i' tasks"):
        protocols.load("mine", folder, spec("imagenet-gen", "c2i"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[settings]", "[setings]", "unknown section 'setings': did you mean 'settings'?"),
        ("title", "titel", "unknown section 'titel': did you mean 'title'?"),
        ('"Mine"', "3", "'title' must be a text"),
        ("[kind.recon]", "[kind.recom]", "unknown kind 'recom': did you mean 'recon'"),
        ("[task.coco-recon.", "[task.cocorecon.", "unknown task 'cocorecon': did you mean 'coco-"),
        ("[task.coco-recon.averaging]", "[task.gqa]", "[task.gqa] is of the kind 'vqa', and there"),
        ("noise =", "spelt_wrong =", "[settings] for 'recon' tasks: protocol setting 'spelt_wron"),
        ("crop =", "corp =", "[kind.recon] for 'recon' tasks: protocol setting 'geometry.corp' is "
         "unknown: did you mean 'crop'?"),
        ("crop = 256", "crop = 300", "[kind.recon] for 'recon' tasks: protocol setting 'geometry' "
         "has a crop of 300, larger than the 256"),
        ("crop = 256", 'crop = "256"', "[kind.recon] for 'recon' tasks: protocol setting "
         "'geometry.crop' cannot be '256': input should be a valid integer"),
        ("crop = 256", "crop = 0", "[kind.recon] for 'recon' tasks: protocol setting "
         "'geometry.crop' cannot be 0: input should be greater than or equal to 1"),
        ("crop = 256", "crop = 1000000000000", "[kind.recon] for 'recon' tasks: protocol setting "
         "'geometry.crop' cannot be 1000000000000: input should be less than or equal to 1000000"),
        ("batch_size = 125", "batch_size = -1", "[task.coco-recon] for 'recon' tasks: protocol "
         "setting 'averaging.batch_size' cannot be -1"),
        ("min_side = 64", "min_size = 64", "[kind.recon-native] for 'recon-native' tasks: protocol "
         "setting 'geometry.min_size' is unknown: did you mean 'min_side'"),
        ("min_side = 64", "pad = 16", "[kind.recon-native] for 'recon-native' tasks: protocol "
         "setting 'geometry' has 'pad', which means nothing without 'max_padded_side'"),
        ('rule = "batch-means"', 'rule = "means"', "[settings] for 'recon' tasks: protocol setting "
         "'averaging.rule' cannot be 'means': use 'per-image', 'global-mse', 'batch-means'"),
        ('noise = "per-sample"', 'noise = "per-sample"\nssim = { window = "uniform7" }\n'
         'pixels = { dtype = "uint8", data_range = 255.0 }', "[settings] for 'recon' tasks: "
         "protocol setting 'pixels.data_range' cannot be 255.0: write 255"),
        ("world_size = 8", "", ""),
    ],
)  # fmt: skip
def test_what_no_family_knows_is_refused_with_file_section_and_nearest_name(
    folder: Path, old: str, new: str, said: str
) -> None:
    if said:
        assert refused(folder, old, new).startswith(said)
    else:
        text = refused(folder, f", {old}", new)
        assert text.endswith("protocol setting 'averaging.world_size' is missing")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "cannot be True: write 1"),
        (1.0, "cannot be 1.0: write 1"),
        (datetime.date(2020, 1, 2), "cannot be the date or time 2020-01-02"),
        ([datetime.time(1, 2)], "cannot be the date or time 01:02:00"),
        (math.inf, "cannot be inf: it must be finite"),
    ],
)
def test_a_value_is_read_as_it_is_written_or_refused(value: object, said: str) -> None:
    class Mine(ProtocolSettings):
        one: Annotated[Literal[1] | str | tuple[str, ...] | float, Stage.SCORE]

    found = check(Mine, {"one": value})
    assert isinstance(found, list)
    assert str(found[0]).startswith(f"protocol setting 'one' {said}")


@pytest.mark.parametrize("value", [1, "text", ["a", "b"], 0.5])
def test_a_value_of_the_right_type_is_taken(value: object) -> None:
    class Mine(ProtocolSettings):
        one: Annotated[Literal[1] | str | tuple[str, ...] | float, Stage.SCORE]

    assert check(Mine, {"one": value}) == Mine(one=tuple(value) if value == ["a", "b"] else value)


def test_a_section_of_another_family_need_not_be_whole_but_right(folder: Path) -> None:
    text = PROTOCOL.replace("geometry = { min_side = 64 }", "")
    (folder / "mine.toml").write_text(text)
    assert protocols.load("mine", folder, spec()).name == "mine"
    with pytest.raises(UserError, match="'geometry' is missing"):
        protocols.load("mine", folder, spec("imagenet-recon-native", "recon-native"))


def test_every_setting_has_its_stage_and_digests_follow_it(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec())
    assert protocol.stages["decode.exif"] is Stage.GENERATE
    assert protocol.stages["uint8"] is Stage.OBSERVE
    assert protocol.stages["averaging.batch_size"] is Stage.SCORE
    assert protocol.digests[Stage.SCORE] == protocol.digest == digest_of(protocol.settings)
    assert "averaging" not in protocol.until(Stage.OBSERVE)
    assert protocol.until(Stage.GENERATE) == {
        "decode": {"exif": "apply", "alpha": "white", "sixteen_bit": "scale"},
        "geometry": {"resize": 256, "crop": 256},
        "noise": "per-sample",
    }


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (("batch_size = 100", "batch_size = 99"), {Stage.SCORE}),
        (('uint8 = "round"', 'uint8 = "truncate"'), {Stage.SCORE, Stage.OBSERVE}),
        (("resize = 256", "resize = 288"), {Stage.SCORE, Stage.OBSERVE, Stage.GENERATE}),
    ],
    ids=["score", "observe", "generate"],
)
def test_a_change_moves_its_own_stage_and_the_later_ones(
    folder: Path, change: tuple[str, str], moved: set[Stage]
) -> None:
    before = protocols.load("mine", folder, spec()).digests
    (folder / "mine.toml").write_text(PROTOCOL.replace(*change))
    after = protocols.load("mine", folder, spec()).digests
    assert {stage for stage in Stage if before[stage] != after[stage]} == moved


def test_every_kind_of_task_has_a_family() -> None:
    kinds = {TASKS.get(name).spec.kind for name in TASKS.names()}
    # `uwt-eval metrics` is no task, benchmarks that are a file of prompts are plug-ins, and those
    # of lmms-eval's are too many to be listed.
    assert kinds | {"sets", "text-to-image", "lmms"} == set(FAMILIES.names())


class SumsSettings(ProtocolSettings):
    digits: Annotated[int, Field(ge=1), Stage.OBSERVE]


def test_a_plug_ins_family_is_read_by_the_same_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = {**FAMILIES._registered, "arithmetic": SumsSettings}
    monkeypatch.setattr(FAMILIES, "_registered", families)
    made = SumsSettings(digits=2).as_protocol("plain", "Both digits")
    path = tmp_path / "mine.toml"
    path.write_text("[kind.arithmetic]\ndigits = 2\n")
    read = protocols.load(str(path), tmp_path, spec("sums", "arithmetic"))
    assert (read.settings, read.stages, read.digests) == (made.settings, made.stages, made.digests)
    path.write_text("[kind.arithmetic]\ndigit = 2\n")
    with pytest.raises(UserError, match="'digit' is unknown: did you mean 'digits'"):
        protocols.load(str(path), tmp_path, spec("sums", "arithmetic"))
