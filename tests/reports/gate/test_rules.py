"""The grammar of rules and what they allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.interfaces.errors import UserError
from reports.gate.rules import Rule, parse_rule, read_rules


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("psnr>=-0.05", Rule("psnr", ">=", -0.05)),
        (" rfid <= +1% ", Rule("rfid", "<=", 1.0, relative=True)),
        ("rfid<=+1e-3", Rule("rfid", "<=", 1e-3)),
        ("bpp<=0", Rule("bpp", "<=", 0.0)),
        ("psnr>=−0.1", Rule("psnr", ">=", -0.1)),
        ("lpips_alex", Rule("lpips_alex")),
        (
            "lmms:t/ACC@0.5 (Obj.)/strict >=-1%",
            Rule("lmms:t/ACC@0.5 (Obj.)/strict", ">=", -1, True),
        ),
    ],
)
def test_rules_are_read(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule
    assert parse_rule(rule.text) == rule


@pytest.mark.parametrize(
    "text", ["", "psnr>", "psnr>0.1", "psnr==0", ">=0.1", "psnr>=x", "psnr>=-1%%", "psnr>=-1e999"]
)
def test_other_texts_are_one_line(text: str) -> None:
    with pytest.raises(UserError, match="not understood"):
        parse_rule(text)


def test_an_amount_without_sign_is_not_taken_for_a_value() -> None:
    with pytest.raises(UserError, match=r"psnr>=\+23"):
        parse_rule("psnr>=23")


@pytest.mark.parametrize(
    ("text", "baseline", "run", "holds"),
    [
        ("psnr>=-0.05", 23.0, 22.95, True),
        ("psnr>=-0.05", 23.0, 22.94, False),
        ("psnr>=+0.1", 23.0, 23.05, False),
        ("rfid<=+1%", 2.0, 2.02, True),
        ("rfid<=+1%", 2.0, 2.03, False),
        ("loss<=+10%", -2.0, -1.8, True),
        ("loss<=+10%", -2.0, -1.7, False),
        ("bpp<=+0", 0.125, 0.125 + 1e-14, True),
        ("bpp<=+0", 0.125, 0.126, False),
    ],
)
def test_bounds(text: str, baseline: float, run: float, holds: bool) -> None:
    assert parse_rule(text).holds(run - baseline, baseline) is holds


def test_a_file_holds_a_list(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('rules = ["psnr>=-0.05", "ssim", "ssim"]\n', encoding="utf-8")
    assert read_rules(path) == [Rule("psnr", ">=", -0.05), Rule("ssim")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rules = []",
        "rules = 3",
        "rules = [3]",
        "rule = ['psnr']",
        "rules = [",
        "\xff",
        "rules = [" + "9" * 5000,
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"gate\.toml") as error:
        read_rules(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_rules(tmp_path / "gate.toml")
