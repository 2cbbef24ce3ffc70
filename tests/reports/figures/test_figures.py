"""`uwt-eval report figures`: what is drawn, from what, and what is said where nothing can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

from harness.interfaces.errors import UserError
from reports.figures import grids, radar, scatter
from reports.figures.canvas import new_figure, short, style
from reports.figures.catalogue import FIGURES
from reports.paper import load_table
from reports.records import load_records
from tests.conftest import CommandLine
from tests.reports.runs import cell, write_run

NASTY = "a--b<script> & $x_1$ 画像\n|"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    columns = {"bpp": [0.125] * 4, "psnr": [20.0, 21, 22, 23], "ssim": [0.5] * 4}
    for model in ("identity", "nano", NASTY):
        sets = {"rfid": cell(3.0, 0.2)}
        write_run(folder, model, columns=columns, sets=sets, pictures=(0, 2))
    heights = {"cer_0_12": cell(0.5, 0.1), "cer_12_16": cell(0.2), "cer_16_up": cell(0.1, 0.05)}
    heights |= {f"face_similarity_{ends}": cell(0.9, 0.01) for ends in ("0_28", "28_up")}
    for model in ("nano", NASTY):
        write_run(folder, model, task="text-recon", columns={"x": [1.0] * 4}, sets=heights)
    sets = {"gfid": cell(2.6, 0.08)}
    write_run(folder, "ar", task="imagenet-gen", columns={"x": [1.0] * 4}, sets=sets, pictures=(1,))
    return folder


def draw(uwt_eval: CommandLine, tmp_path: Path, *words: object) -> list[Path]:
    result = uwt_eval("report", "figures", *words, "--out", tmp_path / "figures")
    assert result.code == 0, result.err
    return [Path(line) for line in result.out.splitlines() if not line.startswith("not drawn")]


def test_all_that_can_be_drawn(uwt_eval: CommandLine, tmp_path: Path, runs: Path) -> None:
    result = uwt_eval("report", "figures", "--runs", runs, "--out", tmp_path / "figures")
    assert result.code == 0, result.err
    assert "not drawn: comparison: comparison needs --rows" in result.out
    written = list((tmp_path / "figures").iterdir())
    names = {path.name for path in written}
    assert "not drawn: radar-gedit-groups: runs of GEdit-Bench have 0 kinds" in result.out
    plain = set(FIGURES) - {"radar-gedit-groups", "reconstructions", "samples", "comparison"}
    assert names >= {f"{name}.{form}" for name in plain for form in ("png", "svg")}
    assert "reconstructions-imagenet-recon-wetok.png" in names
    assert "samples-imagenet-gen-wetok.svg" in names
    for path in written:
        if path.suffix == ".svg":
            root = ElementTree.parse(path).getroot()
            assert root.tag == f"{SVG}svg"
            assert not [each for each in root.iter() if each.tag.endswith("script")]
            assert "<dc:date>" not in path.read_text(encoding="utf-8")
        else:
            with Image.open(path) as image:
                assert min(image.size) > 300
                assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 8


def test_the_same_results_give_the_same_bytes(
    uwt_eval: CommandLine, tmp_path: Path, runs: Path
) -> None:
    first = draw(uwt_eval, tmp_path / "a", "radar-dpg", "reconstructions", "--runs", runs)
    again = draw(uwt_eval, tmp_path / "b", "radar-dpg", "reconstructions", "--runs", runs)
    assert len(first) == 4
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_printed_rates_follow_from_tokens_and_codebook() -> None:
    found = {
        (row["method"], row["codebook"]): scatter.printed_rate(row) for row in load_table(8)["rows"]
    }
    assert found["UniWeTok", "2^128"] == 0.125
    assert found["LlamaGen", "16384"] == 256 * 14 / 65536
    assert found["AliTok", "4096"] == 273 * 12 / 65536
    assert found["IBQ", "2^18"] == 256 * 18 / 65536


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_options_that_tell_variants_apart_are_never_cut() -> None:
    names = [f"patches:owner/a-patch-tokenizer-of-vectors?nearest=angle&k={k}" for k in (64, 65)]
    one, other = map(short, names)
    assert one != other
    assert one == "patches:owner/a-patch-token…\n?nearest=angle&k=64"
    assert short("patches?k=64") == "patches?k=64"


def test_rates_show_what_was_measured(runs: Path) -> None:
    with style():
        figure = scatter.draw_rates(load_records([runs]))
    left, right = figure.axes
    assert {"UniWeTok", "nano", "VQGAN", "IBQ 2^18"} <= set(texts(left))
    bars = [bar for bar in left.containers if bar.has_yerr]
    assert len(bars) == 3
    (low, high) = bars[0].lines[2][-1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((2.8, 3.2))
    assert short(NASTY) in texts(right)


def test_a_measured_model_stands_at_its_cost_or_right_across(runs: Path) -> None:
    records = load_records([runs])
    with style():
        placed = scatter.draw_costs(records, {"ar": 40e9}).axes[0]
        across = scatter.draw_costs(records, {}).axes[0]
    (bar,) = placed.containers
    assert bar.lines[0].get_xydata().tolist() == [[40.0, 2.6]]
    assert "ar (measured, ≠)" in texts(placed)
    assert not across.containers
    assert "ar (measured, ≠), cost not given" in texts(across)
    with pytest.raises(UserError, match="did you mean 'ar'"):
        scatter.check_costs(records, {"arr": 1e9})


@pytest.mark.parametrize(("text", "tokens"), [("33B", 33e9), (" 2.5e9 ", 2.5e9), ("7 M", 7e6)])
def test_tokens(text: str, tokens: float) -> None:
    assert scatter.tokens_of(text) == tokens


@pytest.mark.parametrize("text", ["", "B", "-3B", "0", "33G", "3_3", "nan"])
def test_what_is_no_number_of_tokens(text: str) -> None:
    with pytest.raises(UserError, match="no number"):
        scatter.tokens_of(text)


@pytest.mark.parametrize("name", radar.RADARS)
def test_radars_show_the_papers_figures(name: str) -> None:
    chosen = radar.RADARS[name]
    with style():
        (axes,) = radar.draw(chosen, []).axes
    own = next(row for row in load_table(chosen.table)["rows"] if row.get("ours"))
    line = next(each for each in axes.lines if each.get_label() == own["method"])
    printed = [value for block in chosen.blocks for value in own[block].values()]
    drawn = list(line.get_ydata())
    assert drawn[0] == drawn[-1]
    assert drawn[:-1] == printed[: len(drawn) - 1]
    assert len(axes.lines) >= 3
    assert not any(math.isnan(value) for each in axes.lines for value in each.get_ydata())
    assert min(value for each in axes.lines for value in each.get_ydata()) >= chosen.least


def test_radar_of_a_measured_model_without_all_categories(tmp_path: Path) -> None:
    metrics = radar.fill(11, []).measures
    sets = {metrics[0].metric: cell(0.9), metrics[1].metric: cell(0.8)}
    write_run(tmp_path, "mine", task="geneval", columns={"x": [1.0] * 4}, sets=sets)
    with style():
        (axes,) = radar.draw(radar.RADARS["radar-geneval"], load_records([tmp_path])).axes
    line = next(each for each in axes.lines if each.get_label().startswith("mine (measured"))
    assert list(line.get_ydata())[:2] == [0.9, 0.8]
    assert all(math.isnan(value) for value in list(line.get_ydata())[2:-1])


def test_radar_by_kind_of_edit(tmp_path: Path) -> None:
    root = write_run(tmp_path, "mine", task="gedit-en", columns={"overall": [2.0, 4, 6, 8, 1]})
    rows = pd.read_parquet(root / "samples.parquet")
    rows["group"] = ["color_alter", "color_alter", "ps_human", "subject-add", ""]
    rows.to_parquet(root / "samples.parquet", index=False)
    with style():
        (axes,) = radar.draw_groups(load_records([tmp_path])).axes
    (line,) = axes.lines
    assert list(line.get_ydata()) == [3.0, 6.0, 8.0, 3.0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["color\nalter", "ps\nhuman", "subject\nadd"]


def test_originals_stand_first_and_values_below_pictures(runs: Path) -> None:
    with style():
        (figure,) = grids.reconstructions(load_records([runs])).values()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[0] == "original"
    assert "nano\n0.125 bpp" in titles
    captions = [text for axes in figure.axes for text in texts(axes)]
    assert "PSNR 22.00, SSIM 0.500" in captions
    assert "photo-2" in captions


def test_a_picture_that_is_missing_has_no_caption(tmp_path: Path) -> None:
    columns = {"psnr": [20.0, math.nan], "ssim": [0.5, math.nan]}
    for model, failed in (("identity", {}), ("nano", {1: "failed"})):
        pictures = (0,) if failed else (0, 1)
        write_run(tmp_path, model, columns=columns, failed=failed, pictures=pictures)
    with style():
        (figure,) = grids.reconstructions(load_records([tmp_path])).values()
    captions = [text for axes in figure.axes for text in texts(axes)]
    assert "PSNR 20.00, SSIM 0.500" in captions
    assert "—" in captions
    assert not [text for text in captions if "PSNR nan" in text]


def test_a_row_is_as_high_as_its_highest_picture(tmp_path: Path) -> None:
    root = write_run(tmp_path, "webp", pictures=(0, 1))
    for name, size in (("000000.png", (120, 30)), ("000001.png", (30, 90))):
        Image.new("RGB", size).save(root / "pictures" / name)
    with style():
        (figure,) = grids.reconstructions(load_records([tmp_path])).values()
        figure.canvas.draw()
    wide, tall = (axes.get_window_extent() for axes in figure.axes)
    assert wide.height == pytest.approx(0.25 * tall.height, rel=0.02)
    between = (wide.y0 - tall.y1) / figure.dpi
    assert between < 0.3, "room for a caption, and no blank band"


ROWS: Mapping[str, str] = {
    "[[rows]]\ntitle = 'A'\nsample = 'photo-9'": "no run kept a picture of 'photo-9'",
    "[[rows]]\ntitle = 'A'\nsample = 'photo-0'\ncrop = [40, 0, 40, 8]": "lies outside",
    "[[rows]]\ntitle = 'A'\nsample = 'photo-0'\ncrop = [0, 0, 0, 8]": "lies outside",
    "[[rows]]\ntitle = 'A'\nsample = 'photo-0'\ntask = 'coco-recon'": "no run of coco-recon",
    "[[rows]]\ntitle = 'A'": "field 'sample'",
    "[[rows]]\ntitle = 'A'\nsample = 'photo-0'\nzoom = 2": "field 'zoom'",
    "rows = []": "must hold tables",
    "[[rows]": "--rows",
}


@pytest.mark.parametrize(("text", "message"), ROWS.items(), ids=range(len(ROWS)))
def test_rows_that_cannot_be_drawn(
    uwt_eval: CommandLine, tmp_path: Path, runs: Path, text: str, message: str
) -> None:
    rows = tmp_path / "rows.toml"
    rows.write_text(text, encoding="utf-8")
    result = uwt_eval("report", "figures", "comparison", "--runs", runs, "--rows", rows)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_comparison_of_details(uwt_eval: CommandLine, tmp_path: Path, runs: Path) -> None:
    rows = tmp_path / "rows.toml"
    text = "[[rows]]\ntitle = 'Whole'\nsample = 'photo-0'\n"
    text += "[[rows]]\ntitle = 'Face'\nsample = 'photo-2'\ncrop = [8, 8, 16, 16]\n"
    rows.write_text(text, encoding="utf-8")
    path, _ = draw(uwt_eval, tmp_path, "comparison", "--runs", runs, "--rows", rows)
    with Image.open(path) as image:
        colours = {image.getpixel((x, y)) for x in range(0, image.width, 9) for y in (100, 400)}
    # The fixture paints sample 2 of 'identity' in this colour.
    assert (80, 160, 128) in {colour[:3] for colour in colours}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["radar"], "unknown figure 'radar': did you mean"),
        (["reconstructions"], "no run of a reconstruction task kept pictures"),
        (["samples"], "no run of a task that generates kept pictures"),
        (["comparison"], "needs --rows FILE"),
        (["training-cost", "--train-tokens", "ar"], "write NAME=33B"),
        (["training-cost", "--train-tokens", "ar=33B"], "no run with a gFID"),
        (["--rows", "nowhere.toml"], "cannot be read"),
        (["--runs", "nowhere"], "no such file or folder"),
    ],
    ids=range(8),
)
def test_wrong_usage(uwt_eval: CommandLine, tmp_path: Path, words: list[str], message: str) -> None:
    result = uwt_eval("report", "figures", *words, "--out", tmp_path / "figures")
    assert result.code == 2
    assert message in result.err


def test_a_damaged_picture_is_named(uwt_eval: CommandLine, tmp_path: Path, runs: Path) -> None:
    picture = next(runs.glob("*nano*/pictures/*.png"))
    picture.write_bytes(b"\x89PNG and no more")
    result = uwt_eval("report", "figures", "reconstructions", "--runs", runs, "--out", tmp_path)
    assert result.code == 2
    assert f"{picture} is no readable picture" in result.err


def test_a_folder_that_cannot_be_written(uwt_eval: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = uwt_eval("report", "figures", "radar-dpg", "--out", tmp_path / "file" / "figures")
    assert result.code == 2
    assert "cannot write" in result.err


def test_bold_letters_of_a_font_with_one_weight_warn_of_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("noto_cjk_sans_otc")
    with style():
        figure = new_figure(2, 1, "红 Latin")
        figure.savefig(tmp_path / "bold.png")
    assert [each.getMessage() for each in caplog.records if "findfont" in each.getMessage()] == []


def saved(text: str, path: Path) -> bytes:
    with style():
        figure = new_figure(2, 1)
        figure.text(0.1, 0.5, text)
        figure.savefig(path, metadata={"Software": None})
    return path.read_bytes()


def test_figures_draw_them_and_change_in_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("noto_cjk_sans_otc")
    with_font = [saved(text, tmp_path / "a.png") for text in ("Latin", "红", "车")]
    monkeypatch.setattr("reports.figures.canvas.cjk_font", lambda: None)
    without = [saved(text, tmp_path / "b.png") for text in ("Latin", "红", "车")]
    assert with_font[0] == without[0]
    assert without[1] == without[2], "two boxes"
    assert len({*with_font, *without}) == 4
