"""Protocol files: merged from general to particular, and clear about what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.engine import protocols
from harness.interfaces.errors import UserError
from harness.interfaces.types import TaskSpec

PROTOCOL = """
title = "Mine"
description = "What it is for."
[settings]
uint8 = "round"
averaging = { rule = "per-image", batch_size = 1 }
[kind.recon]
geometry = { resize = 256, crop = 256 }
averaging = { batch_size = 100 }
[kind.recon-native]
geometry = { min_side = 64 }
[task.coco-recon.averaging]
batch_size = 125
[task.other-task]
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


def test_kind_overrides_settings_key_by_key(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec())
    assert protocol.settings == {
        "uint8": "round",
        "averaging": {"rule": "per-image", "batch_size": 100},
        "geometry": {"resize": 256, "crop": 256},
    }
    assert (protocol.name, protocol.title, protocol.description) == (
        "mine",
        "Mine",
        "What it is for.",
    )


def test_task_overrides_kind(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec("coco-recon"))
    assert protocol.settings["averaging"] == {"rule": "per-image", "batch_size": 125}


def test_other_kind_gets_its_own_settings(folder: Path) -> None:
    protocol = protocols.load("mine", folder, spec("imagenet-recon-native", "recon-native"))
    assert protocol.settings["geometry"] == {"min_side": 64}
    assert protocol.settings["averaging"] == {"rule": "per-image", "batch_size": 1}


def test_a_table_replaces_a_plain_value(folder: Path) -> None:
    (folder / "mine.toml").write_text("[settings]\na = 1\n[kind.recon.a]\nb = 2\n")
    assert protocols.load("mine", folder, spec()).settings == {"a": {"b": 2}}


def test_description_and_title_do_not_move_the_digest(folder: Path) -> None:
    before = protocols.load("mine", folder, spec()).digest
    text = PROTOCOL.replace("What it is for.", "Told better.").replace('"Mine"', '"Ours"')
    (folder / "mine.toml").write_text(text)
    assert protocols.load("mine", folder, spec()).digest == before


def test_comments_and_order_do_not_move_the_digest_but_settings_do(folder: Path) -> None:
    before = protocols.load("mine", folder, spec()).digest
    (folder / "mine.toml").write_text(
        "# reordered\n[kind.recon]\naveraging = { batch_size = 100 }\n"
        "geometry = { crop = 256, resize = 256 }\n"
        "[settings]\naveraging = { batch_size = 1, rule = 'per-image' }\nuint8 = 'round'\n"
    )
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
    (folder / "bare.toml").write_text("[kind.recon]\n")
    protocol = protocols.load("bare", folder, spec())
    assert (protocol.title, protocol.description, protocol.settings) == ("bare", "", {})


@pytest.mark.parametrize("name", ["mien", "mien.toml", "gone/mine.toml"])
def test_unknown_name_suggests(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"unknown protocol '{name}' for task 'imagenet-recon'"):
        protocols.load(name, folder, spec())


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
