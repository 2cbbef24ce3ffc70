"""The rungs are read off the settings of a family: a new field or protocol is a rung by itself."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest

from harness.engine import protocols
from harness.interfaces import registry
from harness.interfaces.protocols import Moves
from harness.interfaces.registry import FAMILIES, METRICS, TASKS
from harness.interfaces.types import Protocol, Stage
from harness.sets import FILES
from reports.explain.rungs import Change, apart, combined, differences, ladder
from tasks.recon.data import ReconSettings


def names(task: str, protocol: str, metric: str) -> list[str]:
    found = TASKS.get(task)
    base = found.protocol(protocol)
    rungs = ladder(base, found.spec, metric, METRICS.get(metric), found.protocol)
    return [rung.name for rung in rungs]


def test_a_metric_has_the_rungs_that_it_can_read() -> None:
    rfid, psnr = (names("imagenet-recon", "wetok", metric) for metric in ("rfid", "psnr"))
    assert rfid[:2] == psnr[:2] == ["wetok", "protocol exact"]
    of_pixels = {"geometry.aspect = squash", "uint8 = round", "decode.exif = apply"}
    assert of_pixels <= {*rfid} & {*psnr}
    assert "inception.input = clean" in {*rfid} - {*psnr}
    assert "averaging = per-image" in {*psnr} - {*rfid}
    assert "ssim.window = gaussian11" not in {*rfid} | {*psnr}
    assert "ssim.window = gaussian11" in names("imagenet-recon", "wetok", "ssim")
    assert "averaging = batch-means 100 8" in names("imagenet-recon", "exact", "psnr")
    assert not any("precision" in name for name in rfid)
    assert "ms_ssim = torchmetrics" in names("imagenet-recon", "wetok", "ms_ssim")


def test_a_protocol_that_differs_in_what_the_metric_cannot_read_is_no_rung() -> None:
    base = protocols.find("torch-fidelity", FILES)
    ms_ssim, fid = (
        {r.name for r in ladder(base, FILES, key, METRICS.get(key), find_of_files)}
        for key in ("ms_ssim", "fid")
    )
    assert not {"protocol adm", "protocol clean"} & ms_ssim
    assert {"protocol adm", "protocol clean"} <= fid


def find_of_files(name: str) -> Protocol:
    return protocols.find(name, FILES)


def test_what_means_nothing_beside_the_others_is_no_rung() -> None:
    native = names("imagenet-recon-native", "exact", "rfid")
    assert not any("kernel" in name or "aspect" in name for name in native)
    assert "geometry.compression = jpeg-75" in native


def test_a_new_field_is_a_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(ReconSettings):
        gamma: Annotated[Literal["srgb", "linear"], Stage.OBSERVE] = "srgb"
        strict: Annotated[bool, Stage.OBSERVE, Moves(("psnr",))] = False

    monkeypatch.setattr(registry.FAMILIES, "_registered", {"recon": Later})
    assert "gamma = linear" in names("imagenet-recon", "wetok", "rfid")
    assert "strict = True" in names("imagenet-recon", "wetok", "psnr")
    assert "strict = True" not in names("imagenet-recon", "wetok", "rfid")


def test_changes_combine_where_neither_lies_in_the_other() -> None:
    table, rule = Change(("averaging",), {"rule": "per-image"}), Change(("averaging", "rule"), "x")
    other = Change(("uint8",), "round")
    assert apart(table, other)
    assert not apart(table, rule)
    base = TASKS.get("imagenet-recon").protocol("wetok")
    both = combined(base, FAMILIES.get("recon"), [table, other])
    assert both is not None
    assert differences(base, both) == {
        "averaging.rule": "per-image",
        "averaging.batch_size": None,
        "averaging.world_size": None,
        "uint8": "round",
    }
    assert combined(base, FAMILIES.get("recon"), [Change(("uint8",), "up")]) is None
