"""Figures of results on several data sets: one for each set, which its name and headline say."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.figures import grids, scatter
from reports.figures.canvas import style
from reports.figures.datasets import by_dataset
from reports.records import load_records
from tests.conftest import CommandLine
from tests.reports.runs import cell, write_run

RATES = {"bpp": [0.125] * 4, "psnr": [20.0, 21, 22, 23]}
OTHER = ("car-0", "car-1", "car-2", "car-3")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two models on one data set, one of them on another too."""
    folder = tmp_path / "runs"
    sets = {"rfid": cell(3.0)}
    for model in ("nano", "webp"):
        write_run(folder, model, columns=RATES, sets=sets, pictures=(0, 2))
    write_run(
        folder, "nano", columns=RATES, sets=sets, pictures=(0, 2), dataset="my cars/2", ids=OTHER
    )
    return folder


def test_one_data_set_a_task_is_one_figure(tmp_path: Path) -> None:
    write_run(tmp_path, "nano", columns=RATES)
    write_run(tmp_path, "nano", columns=RATES, task="coco-recon", dataset="other", ids=OTHER)
    records = load_records([tmp_path])
    (part,) = by_dataset(records)
    assert (part.records, part.end, part.title) == (records, "", "")
    assert by_dataset([]) == [type(part)([])]


def test_several_are_told_apart_by_name_and_digest(runs: Path) -> None:
    records = load_records([runs])
    parts = {part.end: part for part in by_dataset(records)}
    digests = {each.record.dataset: each.record.dataset_digest for each in records}
    cars, photos = (digests[name] for name in ("my cars/2", "photos"))
    assert parts.keys() == {f"my-cars-2-{cars[:8]}", f"photos-{photos[:8]}"}
    part = parts[f"photos-{photos[:8]}"]
    assert part.title == f"photos (n=4, {photos[:12]})"
    assert [each.record.model for each in part.records] == ["nano", "webp"]
    only = by_dataset(records, lambda each: each.record.model == "webp")
    assert [len(each.records) for each in only] == [3], "what is not shown sets nothing apart"


def test_no_picture_stands_beside_those_of_another_set(runs: Path) -> None:
    with style():
        figures = grids.reconstructions(load_records([runs]))
    assert len(figures) == 2
    for name, figure in figures.items():
        assert name.startswith("imagenet-recon-wetok-")
        assert "—" not in {text.get_text() for axes in figure.axes for text in axes.texts}
        assert len(figure.axes) == (2 if "cars" in name else 4)
        headline = " ".join(str(figure.get_suptitle()).split())
        assert ("my cars/2" if "cars" in name else "photos") in headline


def test_files_of_every_figure(uwt_eval: CommandLine, tmp_path: Path, runs: Path) -> None:
    for model, ids in (("ar", ()), ("other", OTHER)):
        write_run(
            *(runs, model),
            task="imagenet-gen", columns={"x": [1.0] * 4}, sets={"gfid": cell(2.6)}, ids=ids,
        )  # fmt: skip
    out = tmp_path / "figures"
    words = ("report", "figures", "--runs", runs, "--out", out, "--format", "png")
    result = uwt_eval(*words, "--train-tokens", "ar=33B")
    assert result.code == 0, result.err
    names = [path.name for path in out.iterdir()]
    for name, number in (("rate-distortion", 2), ("training-cost", 2), ("radar-geneval", 1)):
        assert sum(each.startswith(name) for each in names) == number
    assert "radar-geneval.png" in names
    assert "rate-distortion.png" not in names


def test_a_headline_says_the_data_set(runs: Path) -> None:
    with style():
        figure = scatter.draw_rates(load_records([runs]), "photos (n=4, 1234)")
    assert figure.get_suptitle() == "photos (n=4, 1234)"
