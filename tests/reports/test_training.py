"""`uwt-eval report training`: curves of what trainings logged, and logs that cannot be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from harness.interfaces.errors import UserError
from reports.figures.curves import training_curves
from reports.training import read_trainings
from tests.conftest import CommandLine


def write_log(folder: Path, steps: int = 4, *, end: str = "", rate: float = 1e-4) -> Path:
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = [
        {
            "step": step,
            "kind": "train",
            "loss": 1000.0 / step**4,
            "l1": 0.5 / step,
            "gradient_norm": 2.0,
            "images_per_second": 30.0,
            "data_wait": 0.01,
            "learning_rate": rate,
            "epoch": step / 10,
        }
        for step in range(1, steps + 1)
    ]
    rows.insert(2, {"step": 2, "kind": "validation", "psnr": 12.0, "ssim": None})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "log.jsonl").write_text(text + end)
    return folder


def titles(*folders: Path, names: tuple[str, ...] = ()) -> list[str]:
    figure = training_curves(read_trainings(folders), names)
    return [axes.get_title(loc="left") for axes in figure.axes if axes.axison]


def test_several_trainings_are_drawn_in_one_picture(uwt_eval: CommandLine, tmp_path: Path):
    one, two = write_log(tmp_path / "a" / "run"), write_log(tmp_path / "b" / "run", 7, rate=1e-3)
    result = uwt_eval("report", "training", one, two, "--out", tmp_path / "my.curves.png")
    assert result.code == 0, result.err
    assert result.out.split() == [str(tmp_path / "my.curves.png")]
    with Image.open(tmp_path / "my.curves.png") as image:
        assert image.width > 1000
    assert [run.name for run in read_trainings([one, two])] == ["a/run", "b/run"]


def test_losses_come_first_and_validations_last(tmp_path: Path):
    one = write_log(tmp_path / "one")
    assert titles(one) == [
        *("loss", "l1", "gradient norm", "learning rate", "data wait", "images per second"),
        "validation psnr",
    ]
    assert titles(one, names=("validation/psnr", "epoch")) == ["validation psnr", "epoch"]
    with pytest.raises(UserError, match="--curve validation/psn: did you mean 'validation/psnr'"):
        titles(one, names=("validation/psn",))


def test_an_axis_is_logarithmic_where_values_span_much(tmp_path: Path):
    figure = training_curves(read_trainings([write_log(tmp_path / "one")]))
    scales = {axes.get_title(loc="left"): axes.get_yscale() for axes in figure.axes}
    assert scales["loss"] == "log"
    assert scales["l1"] == "linear"


def test_the_points_as_json_hold_what_is_not_drawn_too(uwt_eval: CommandLine, tmp_path: Path):
    one = write_log(tmp_path / "one", 2)
    result = uwt_eval("report", "training", one, "--json")
    (run,) = json.loads(result.out)
    assert run["name"] == "one"
    assert run["curves"]["epoch"] == [[1, 0.1], [2, 0.2]]
    assert run["curves"]["validation/psnr"] == [[2, 12.0]]
    assert "validation/ssim" not in run["curves"]
    assert not Path("training.png").exists()


def test_an_unfinished_last_line_is_left_out_and_named(uwt_eval: CommandLine, tmp_path: Path):
    one = write_log(tmp_path / "one", end='{"step": 5, "kind": "tra')
    result = uwt_eval("report", "training", one, "--out", tmp_path / "out.svg")
    assert result.code == 0
    assert "the last line is unfinished and left out" in result.err
    assert (tmp_path / "out.svg").is_file()


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (None, "holds no log.jsonl: give the --out of `uwt-eval train`"),
        (b"", "has no whole line yet"),
        (b'{"step": 1}\n{"step": 2, "kind": "train", "loss": 1}\n', "line 1 is damaged"),
        (b'\xff\x00\n{"step": 2, "kind": "train", "loss": 1}\n', "line 1 is damaged"),
        (b'[1]\n{"step": 2, "kind": "train", "loss": 1}\n', "line 1 is damaged"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    uwt_eval: CommandLine, tmp_path: Path, log: bytes | None, message: str
):
    folder = tmp_path / "run"
    folder.mkdir()
    if log is not None:
        (folder / "log.jsonl").write_bytes(log)
    result = uwt_eval("report", "training", folder, "--out", tmp_path / "x.png")
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "nowhere is no folder"),
        (("nowhere", "--out", "curves.pdf"), "--out curves.pdf: end its name in .png or .svg"),
    ],
)
def test_a_wrong_word_is_one_line(uwt_eval: CommandLine, words: tuple[str, ...], message: str):
    result = uwt_eval("report", "training", *words)
    assert result.code == 2
    assert message in result.err
