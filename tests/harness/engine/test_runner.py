"""One run from request to record: what is counted, what is withheld, what is tried again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from harness.data.images import to_float
from harness.data.manifest import CPU_BLOCK
from harness.data.store import Store
from harness.engine import runner
from harness.engine.progress import Progress
from harness.engine.run_file import sample_seed
from harness.engine.runner import Finished, first_errors, rescore
from harness.engine.world import World
from harness.interfaces import Code, RunRequest
from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, MODELS
from harness.interfaces.types import RunStatus
from tests.harness.toys import (
    TILES,
    Control,
    ToyTokenizer,
    fail_on_magenta,
    nothing,
    paint,
    request,
    result_of,
    rows_of,
)


def run(request: RunRequest) -> Finished:
    finished = runner.run(request, World(), Progress(Console(quiet=True)))
    assert finished is not None
    return finished


def broken(_: Any) -> NoReturn:
    raise RuntimeError("the weights are for another model")


def truncate(tile: Path) -> None:
    tile.write_bytes(tile.read_bytes()[:500])


def add_tiles(folder: Path, count: int) -> None:
    """More tiles, so that one failure is a small share."""
    for index in range(count):
        level = 5 * index
        Image.new("RGB", (64, 64), (level, 255 - level, 90)).save(folder / f"more_{index:02d}.png")


def test_record_holds_what_a_direct_evaluation_gives(tiles: Path, control: Control) -> None:
    finished = run(request(tiles))
    model = MODELS.get("toy")()
    expected, bits = [], []
    for path in sorted(tiles.iterdir()):
        pixels = np.asarray(Image.open(path))
        (code,) = model.encode(to_float(pixels[None]))
        seed = sample_seed(0, "imagenet-recon-native", 1, path.name)
        decoded = model.decode([code], [seed])[0].clamp(-1, 1).permute(1, 2, 0).numpy()
        eight_bit = np.round((decoded + 1) / 2 * 255).astype(np.uint8)
        expected.append(peak_signal_noise_ratio(pixels, eight_bit, data_range=255))
        bits.append(8 * len(code.payload) / pixels[..., 0].size)
    record = finished.record
    assert record.value("psnr") == pytest.approx(np.mean(expected), abs=1e-4)
    assert record.value("bpp") == pytest.approx(np.mean(bits))
    np.testing.assert_allclose(rows_of(finished.root)["psnr"], expected, atol=1e-4)
    assert (record.n, record.n_failed, record.status) == (TILES, 0, RunStatus.COMPLETE)
    cell = record.metrics["psnr"]
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    assert cell.ci_low < record.value("psnr") < cell.ci_high  # type: ignore[operator]
    assert (cell.n, cell.status, cell.higher_is_better) == (TILES, "ok", True)
    assert 0 < record.value("usage_joint") <= 1  # type: ignore[operator]


def test_run_directory_holds_everything_a_reader_needs(tiles: Path, control: Control) -> None:
    root = run(request(tiles)).root

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    record = json.loads((root / "record.json").read_text("utf-8"), parse_constant=refuse)
    assert record["provenance"]["packages"]["torch"]
    assert record["provenance"]["seconds"]["total"] > 0
    assert list(rows_of(root).index) == sorted(path.name for path in tiles.iterdir())
    with Image.open(root / "grid.png") as grid:
        assert min(grid.size) > 100
    assert len(list((root / "pictures").glob("*.png"))) == 8
    assert not list(root.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("protocol", "lpips"),
    [
        ("exact", "not computed: weights 'alexnet' missing, run `uwt-eval assets fetch alexnet`"),
        ("wetok", "not applicable: the protocol has no LPIPS"),
    ],
)
def test_metrics_that_cannot_be_had_say_why(
    protocol: str, lpips: str, tiles: Path, control: Control
) -> None:
    metrics = ("psnr", "rfid", "lpips_alex")
    record = run(request(tiles, protocol=protocol, metrics=metrics)).record
    assert record.value("psnr") is not None
    assert record.value("rfid") is None
    assert record.value("lpips_alex") is None
    assert record.metrics["rfid"].status.startswith("not computed: weights 'inception' missing")
    assert record.metrics["rfid"].higher_is_better is False
    assert record.metrics["lpips_alex"].status == lpips
    assert record.status is RunStatus.COMPLETE


def test_truncated_image_is_counted_and_named(tiles: Path, control: Control) -> None:
    truncate(tiles / "tile_03.png")
    finished = run(request(tiles))
    assert finished.record.failures == {"decode_error": 1}
    assert finished.record.status is RunStatus.INCOMPLETE
    assert finished.first_errors[0].startswith("tile_03.png: decode_error: ")
    assert control.encoded == TILES - 1
    assert finished.record.metrics["psnr"].value is None
    status = finished.record.metrics["psnr"].status
    assert status == f"withheld: 1 of {TILES} samples failed (--max-failures allows more)"


def test_what_is_missing_is_said_where_failures_withhold_the_rest(
    tiles: Path, control: Control
) -> None:
    """Allowing the failures would not give that figure either."""
    truncate(tiles / "tile_03.png")
    record = run(request(tiles, metrics=("psnr", "rfid"))).record
    assert record.metrics["psnr"].status.startswith("withheld: 1 of")
    assert record.metrics["rfid"].status.startswith("not computed: weights 'inception' missing")


def test_too_small_an_image_is_counted_and_named(tiles: Path, control: Control) -> None:
    Image.new("RGB", (63, 200)).save(tiles / "tile_03.png")
    finished = run(request(tiles))
    assert finished.first_errors == (
        "tile_03.png: decode_error: image of 63x200 is smaller than 64 pixels a side",
    )


def test_allowed_failures_leave_a_complete_result(tiles: Path, control: Control) -> None:
    undisturbed = rows_of(run(request(tiles)).root).drop("tile_03.png")
    truncate(tiles / "tile_03.png")
    record = run(request(tiles, max_failures=1)).record
    assert record.status is RunStatus.COMPLETE
    assert (record.n, record.n_failed) == (TILES, 1)
    cell = record.metrics["psnr"]
    assert (cell.n, cell.n_failed) == (TILES - 1, 1)
    assert cell.value == pytest.approx(undisturbed["psnr"].mean())


def test_one_failure_more_than_allowed_is_incomplete(tiles: Path, control: Control) -> None:
    for index in (3, 7):
        truncate(tiles / f"tile_{index:02d}.png")
    record = run(request(tiles, max_failures=1)).record
    assert record.status is RunStatus.INCOMPLETE
    assert record.n_failed == 2


def test_few_failures_leave_the_value_but_not_the_status(tiles: Path, control: Control) -> None:
    add_tiles(tiles, 10)
    truncate(tiles / "tile_03.png")
    record = run(request(tiles)).record
    assert record.n == TILES + 10
    assert record.status is RunStatus.INCOMPLETE
    assert record.metrics["psnr"].value is not None
    assert record.metrics["psnr"].n_failed == 1


def test_many_failures_are_listed_in_part(tiles: Path, control: Control) -> None:
    for index in range(7):
        truncate(tiles / f"tile_{index:02d}.png")
    for index, size in enumerate((60, 61, 62, 63), 7):
        Image.new("RGB", (size, 64)).save(tiles / f"tile_{index:02d}.png")
    finished = run(request(tiles))
    first, *others = finished.first_errors
    assert first.startswith("tile_00.png, tile_01.png, tile_02.png and 4 more: decode_error: trunc")
    assert others[0].startswith("tile_07.png: decode_error: image of 60x64")
    assert len(others) == 4
    assert first_errors([(str(n), "missing", str(n)) for n in range(7)])[5:] == ("… and 2 more",)


def test_no_image_can_be_read(tiles: Path, control: Control) -> None:
    for tile in tiles.iterdir():
        truncate(tile)
    finished = run(request(tiles, max_failures=TILES))
    assert finished.record.n_failed == TILES
    assert finished.record.metrics["psnr"].status == "not computed: no sample was observed"
    assert not (finished.root / "grid.png").exists()
    assert control.encoded == 0


@pytest.mark.parametrize("step", ["before_encode", "before_decode"])
def test_model_failing_on_one_image_fails_that_one_only(
    step: str, tiles: Path, control: Control
) -> None:
    paint(tiles / "tile_05.png")
    expected = rows_of(run(request(tiles)).root)
    control.forget()

    def fail_on_code(code: Code) -> None:
        if set(code.payload) == {0, 255} and code.payload[1] == 0:
            raise ArithmeticError("no image for magenta")

    setattr(control, step, {"before_encode": fail_on_magenta}.get(step, fail_on_code))
    finished = run(request(tiles, out=tiles.parent / "again"))
    rows = rows_of(finished.root)
    assert finished.record.failures == {"model_error": 1}
    assert finished.first_errors[0].startswith("tile_05.png: model_error: ArithmeticError: no ")
    others = rows.drop("tile_05.png")
    assert (others["status"] == "ok").all()
    assert others["psnr"].equals(expected.drop("tile_05.png")["psnr"])


@pytest.mark.parametrize("step", ["before_encode", "before_decode"])
def test_model_failing_on_all_images_stops_the_run(
    step: str, tiles: Path, control: Control
) -> None:
    setattr(control, step, broken)
    with pytest.raises(UserError, match=r"model 'toy' failed on each of the first 4 samples: Runt"):
        run(request(tiles))


def test_model_error_is_tried_again_and_then_forgotten(tiles: Path, control: Control) -> None:
    paint(tiles / "tile_05.png")
    expected = run(request(tiles, out=tiles.parent / "sound")).record
    control.forget()
    control.before_encode = fail_on_magenta
    assert run(request(tiles)).record.failures == {"model_error": 1}
    control.forget()
    again = run(request(tiles)).record
    assert control.encoded == CPU_BLOCK
    assert result_of(again) == result_of(expected)
    control.forget()
    run(request(tiles))
    assert control.encoded == 0


def test_decode_error_is_not_tried_again(tiles: Path, control: Control) -> None:
    truncate(tiles / "tile_03.png")
    first = run(request(tiles)).record
    control.forget()
    assert result_of(run(request(tiles)).record) == result_of(first)
    assert control.encoded == 0


def test_finished_run_does_not_even_load_the_model(tiles: Path, control: Control) -> None:
    first = run(request(tiles)).record
    control.forget()
    assert result_of(run(request(tiles)).record) == result_of(first)
    assert (control.loaded, control.encoded, control.decoded) == (0, 0, 0)


def test_added_metric_observes_only_what_is_missing(tiles: Path, control: Control) -> None:
    run(request(tiles, metrics=("bpp",)))
    control.forget()
    added = run(request(tiles, metrics=("bpp", "psnr"))).record
    assert control.encoded == 0
    assert control.decoded == TILES
    at_once = run(request(tiles, metrics=("bpp", "psnr"), out=tiles.parent / "at-once")).record
    assert result_of(added) == result_of(at_once)


def test_failure_while_observing_stored_outputs_is_tried_again(
    tiles: Path, control: Control
) -> None:
    expected = run(request(tiles, out=tiles.parent / "sound")).record
    run(request(tiles, metrics=("bpp",)))
    seen: list[Code] = []

    def fail_once(code: Code) -> None:
        seen.append(code)
        if len(seen) == 6:
            raise ArithmeticError("a passing fault")

    control.before_decode = fail_once
    disturbed = run(request(tiles)).record
    assert disturbed.n_failed == 1
    control.before_decode = nothing
    assert result_of(run(request(tiles)).record) == result_of(expected)


def test_broken_stored_part_is_made_again(tiles: Path, control: Control) -> None:
    finished = run(request(tiles))
    for stage in ("outputs", "observations/pixels"):
        control.forget()
        part = sorted((finished.root / stage).iterdir())[1]
        part.write_bytes(part.read_bytes()[:-20])
        assert result_of(run(request(tiles)).record) == result_of(finished.record)
        assert control.encoded == (CPU_BLOCK if stage == "outputs" else 0)


class Sigmoid(ToyTokenizer):
    """Gives [0, 1], as a network does that ends in a sigmoid."""

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        return (super().decode(codes, seeds).clamp(-1, 1) + 1) / 2


def test_a_decoder_that_gives_the_upper_half_alone_is_told_of_in_one_line(
    tiles: Path,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(MODELS._registered, "sigmoid", partial(Sigmoid, control, 0.2))
    run(request(tiles))
    run(request(tiles, model="sigmoid", limit=1))  # One image may be all bright.
    assert "below 0" not in capsys.readouterr().err
    assert run(request(tiles, model="sigmoid")).record.value("psnr") is not None
    assert capsys.readouterr().err == (
        f"warning: no value of the {TILES} images that toy decoded is below 0: "
        "if it gives [0, 1], decode is to give [-1, 1]\n"
    )


def test_identical_images_have_no_finite_psnr(tiles: Path) -> None:
    record = run(request(tiles, model="identity")).record
    cell = record.metrics["psnr"]
    assert cell.value is None
    assert cell.status == f"not computed: infinite for all {TILES} samples: images are identical"
    assert record.value("ssim") == 1.0
    assert record.metrics["usage_pooled"].status == "not applicable: the model has no codebook"
    assert record.status is RunStatus.COMPLETE


def test_second_run_on_the_same_directory_is_refused(tiles: Path, control: Control) -> None:
    root = run(request(tiles)).root
    with Store(root).locked(), pytest.raises(UserError, match="is in use by another run"):
        run(request(tiles))


def test_score_from_files_alone_gives_the_same_record(tiles: Path, control: Control) -> None:
    finished = run(request(tiles))
    (finished.root / "record.json").unlink()
    for tile in list(tiles.iterdir()):
        tile.unlink()
    record, merged = rescore(finished.root)
    assert result_of(record) == result_of(finished.record)
    assert merged.ok.all()
    assert (finished.root / "record.json").is_file()


def test_score_of_an_unfinished_run_counts_missing_samples(tiles: Path, control: Control) -> None:
    finished = run(request(tiles))
    sorted((finished.root / "outputs").iterdir())[1].unlink()
    sorted((finished.root / "observations" / "pixels").iterdir())[3].unlink()
    record, _ = rescore(finished.root)
    assert record.failures == {"missing": CPU_BLOCK + TILES % CPU_BLOCK}
    assert record.status is RunStatus.INCOMPLETE
    assert record.metrics["psnr"].status.startswith("withheld")


def test_score_of_a_run_without_any_block(tiles: Path, control: Control) -> None:
    finished = run(request(tiles))
    for part in (finished.root / "outputs").iterdir():
        part.unlink()
    record, _ = rescore(finished.root)
    assert record.failures == {"missing": TILES}


def test_score_of_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run directory"):
        rescore(tmp_path)


def test_score_of_a_run_of_another_version(tiles: Path, control: Control) -> None:
    root = run(request(tiles)).root
    content = json.loads((root / "run.json").read_text("utf-8"))
    content["no_longer_known"] = 1
    del content["provenance"]["sha256"]
    (root / "run.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match="written by another version of uwt-eval"):
        rescore(root)


def test_decoder_of_another_shape_is_a_model_error(
    tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.harness.toys import ToyTokenizer

    decode: Callable[..., Tensor] = ToyTokenizer.decode
    monkeypatch.setattr(ToyTokenizer, "decode", lambda *given: decode(*given)[..., :-1])
    with pytest.raises(UserError, match="decode gave shape"):
        run(request(tiles))


def test_two_lines_of_progress_are_all_that_is_printed_where_there_is_no_terminal(
    tiles: Path, control: Control, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        runner.run(request(tiles), World(), Progress(Console(stderr=True)))
    out, err = capfd.readouterr()
    start, end = err.splitlines()
    assert (out, start) == ("", "toy: 0 of 14 at the start")
    assert end.startswith("toy: 14 of 14, ")
    assert not caplog.records


def test_metrics_that_are_asked_for_later_are_added(tiles: Path, control: Control) -> None:
    first = run(request(tiles, metrics=("bpp", "psnr"))).record
    added = run(request(tiles, metrics=("ssim",))).record
    assert list(added.metrics) == ["bpp", "psnr", "ssim"]
    assert {key: added.metrics[key] for key in first.metrics} == first.metrics
    again = run(request(tiles, metrics=("psnr",))).record
    assert result_of(again) == result_of(added)


def test_metrics_of_a_plugin_that_is_gone_are_left_out_and_named(
    tiles: Path, control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plugin = {**METRICS._registered, "passing": METRICS.get("psnr")}
        patch.setattr(METRICS, "_registered", plugin)
        run(request(tiles, metrics=("passing",)))
    assert list(run(request(tiles, metrics=("bpp",))).record.metrics) == ["bpp"]
    assert "passing left out" in capsys.readouterr().err
