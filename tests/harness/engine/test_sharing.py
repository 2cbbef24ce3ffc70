"""Protocols that differ in a later stage only: nothing that an earlier one made is made again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.engine.run_file import read_run_file
from harness.engine.runner import Finished
from tasks import PROTOCOLS
from tests.conftest import CommandLine
from tests.harness.engine.test_runner import fail_on_magenta, paint, run
from tests.harness.toys import TILES, Control, request, result_of, rows_of

SCORING = ('averaging = { rule = "per-image" }', 'averaging = { rule = "global-mse" }')
OBSERVING = ('window = "uniform7"', 'window = "gaussian11"')
GENERATING = ("geometry = { min_side = 64 }", "geometry = { min_side = 48 }")


def variant(folder: Path, *changes: tuple[str, str]) -> str:
    """The protocol `exact` with changes, as a file of its own."""
    text = (PROTOCOLS / "exact.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    name = re.sub(r"\W+", "-", "-".join(new for _, new in changes)) or "same"
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def fresh(tiles: Path, protocol: str) -> Finished:
    """The same run where there is nothing to share."""
    return run(request(tiles, protocol=protocol, out=tiles.parent / "fresh"))


def same(one: Finished, other: Finished) -> bool:
    return result_of(one.record) == result_of(other.record) and rows_of(one.root).equals(
        rows_of(other.root)
    )


def test_another_way_of_scoring_scores_the_stored_observations(
    tiles: Path, control: Control, tmp_path: Path
) -> None:
    first = run(request(tiles))
    control.forget()
    protocol = variant(tmp_path, SCORING)
    second = run(request(tiles, protocol=protocol))
    assert (control.loaded, control.encoded, control.decoded) == (0, 0, 0)
    assert second.record.value("psnr") != first.record.value("psnr")
    assert second.root != first.root
    assert (first.root / "record.json").is_file(), "both results stay"
    assert (second.root / "grid.png").is_file()
    assert same(second, fresh(tiles, protocol))


def test_another_way_of_observing_looks_at_the_stored_outputs(
    tiles: Path, control: Control, tmp_path: Path
) -> None:
    first = run(request(tiles))
    control.forget()
    protocol = variant(tmp_path, OBSERVING)
    second = run(request(tiles, protocol=protocol))
    assert control.encoded == 0
    assert control.decoded == TILES, "the codes are stored, what is looked at is decoded"
    assert second.record.value("psnr") == first.record.value("psnr")
    assert second.record.value("ssim") != first.record.value("ssim")
    assert same(second, fresh(tiles, protocol))


def test_another_way_of_generating_shares_nothing(
    tiles: Path, control: Control, tmp_path: Path
) -> None:
    run(request(tiles))
    control.forget()
    run(request(tiles, protocol=variant(tmp_path, GENERATING)))
    assert control.encoded == TILES


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"limit": 5}, {"model": "toy?noise=0.2"}], ids=str
)
def test_other_outputs_are_not_taken(
    changes: dict[str, Any], tiles: Path, control: Control, tmp_path: Path
) -> None:
    run(request(tiles))
    control.forget()
    run(request(tiles, protocol=variant(tmp_path, SCORING), **changes))
    assert control.encoded == (5 if "limit" in changes else TILES)


def test_what_a_first_run_has_not_finished_is_made_by_the_second(
    tiles: Path, control: Control, tmp_path: Path
) -> None:
    paint(tiles / "tile_05.png")
    control.before_encode = fail_on_magenta
    first = run(request(tiles))
    assert first.record.failures == {"model_error": 1}
    control.forget()
    protocol = variant(tmp_path, SCORING)
    second = run(request(tiles, protocol=protocol))
    assert control.encoded == 4, "the block of the failure alone"
    assert same(second, fresh(tiles, protocol))
    assert read_run_file(first.root).protocol.name == "exact"
    assert rows_of(first.root).loc["tile_05.png", "status"] == "model_error"


def test_a_run_stays_whole_without_the_one_that_it_shares_with(
    tiles: Path, control: Control, tmp_path: Path
) -> None:
    first = run(request(tiles))
    protocol = variant(tmp_path, SCORING)
    second = run(request(tiles, protocol=protocol))
    shutil.rmtree(first.root)
    control.forget()
    again = run(request(tiles, protocol=protocol))
    assert control.encoded == 0
    assert same(again, second)


@pytest.mark.parametrize(
    "content",
    [b'{"run_id": "from another version"}', b"", b"\xff"],
    ids=["other", "empty", "bytes"],
)
def test_a_folder_that_is_no_run_of_ours_is_passed_by(
    tiles: Path, control: Control, tmp_path: Path, content: bytes
) -> None:
    first = run(request(tiles))
    (first.root / "run.json").write_bytes(content)
    control.forget()
    run(request(tiles, protocol=variant(tmp_path, SCORING)))
    assert control.encoded == TILES


def test_webp_on_the_sample_set_is_scored_again_without_coding(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.baselines.codecs import WebP

    called: list[str] = []
    for name in ("encode", "decode"):
        own = getattr(WebP, name)
        monkeypatch.setattr(
            WebP, name, lambda *given, own=own, name=name: (called.append(name), own(*given))[1]
        )
    command = ("run", "imagenet-recon", "--model", "webp", "--limit", "4", "--json", "--metrics",
               "bpp,psnr,ssim", "--device", "cpu", "--out")  # fmt: skip
    protocol = variant(tmp_path, SCORING)
    (first,) = uwt_eval(*command, tmp_path / "runs", "--protocol", "exact").records
    assert set(called) == {"encode", "decode"}
    called.clear()
    (plan,) = uwt_eval(*command, tmp_path / "runs", "--protocol", protocol, "--dry-run").records
    assert plan["n_missing"] == 0
    (second,) = uwt_eval(*command, tmp_path / "runs", "--protocol", protocol).records
    assert called == []
    (alone,) = uwt_eval(*command, tmp_path / "fresh", "--protocol", protocol).records
    assert second["metrics"] == alone["metrics"]
    assert second["metrics"]["psnr"] != first["metrics"]["psnr"]
    assert second["protocol_digest"] != first["protocol_digest"]
    called.clear()
    observing = variant(tmp_path, OBSERVING)
    (third,) = uwt_eval(*command, tmp_path / "runs", "--protocol", observing).records
    assert set(called) == {"decode"}
    (alone,) = uwt_eval(*command, tmp_path / "fresh", "--protocol", observing).records
    assert third["metrics"] == alone["metrics"]
