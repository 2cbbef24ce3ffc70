"""`uwt-eval train` on several sources: log, plan, resuming, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.uniwetok.test_commands import arguments
from uniwetok.train.engine.logs import read_log


def given(photos: Path, *words: str) -> list[str]:
    return [*words, f"few={photos / 'val' / 'n00000000'}@3", f"many={photos}@1"]


def test_a_mixture_is_logged_by_source_and_resumed(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [*arguments(None, out, "steps=4"), "--device", "cpu", "--data"]
    first = uwt_eval(*given(photo_folder, *command))
    assert first.code == 0, first.err
    assert "few" in first.err
    assert "epochs" in first.err
    rows = read_log(out)
    last = rows[-1]
    assert last["samples/few"] + last["samples/many"] == 16
    assert last["epochs/few"] == last["samples/few"] / 3
    assert last["epochs/many"] == last["samples/many"] / 6
    assert json.loads((out / "config.json").read_text())["data"]["mixture"] == ["few@3", "many@1"]
    assert f"--data {photo_folder / 'val' / 'n00000000'}" in first.out  # Most are from there.
    # Without its last checkpoint, the same command takes the same steps again.
    (out / "checkpoints" / "step-00000004.pt").unlink()
    again = uwt_eval(*given(photo_folder, *command))
    assert again.code == 0, again.err
    assert "going on after step 2 of 4" in again.err
    losses = [[row["loss"] for row in each] for each in (rows, read_log(out))]
    assert losses[0] == losses[1]
    other = [word.replace("@3", "@2") for word in given(photo_folder, *command)]
    changed = uwt_eval(*other)
    assert changed.code == 2
    assert "holds a run with data.mixture=['few@3', 'many@1']" in changed.err


def test_a_source_with_a_name_trains_as_one_without(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
) -> None:
    losses = []
    for name, place in (("plain", str(photo_folder)), ("named", f"mine={photo_folder}")):
        command = arguments(None, tmp_path / name, "steps=2")
        result = uwt_eval(*command, "--device", "cpu", "--data", place)
        assert result.code == 0, result.err
        losses.append([row["loss"] for row in read_log(tmp_path / name)])
    assert losses[0] == losses[1]


def test_the_plan_counts_sources_and_says_who_takes_which_sizes(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "mix.toml"
    table.write_text(
        f'[few]\npath = "{photo_folder}/val/n00000001"\nweight = 1\n'
        f'[many]\npath = "{photo_folder}"\nweight = 3\n'
    )
    settings = ("data.buckets=32x32,64x64", "data.partition=fixed", "steps=12", "batch_size=6")
    command = [*arguments(table, tmp_path, *settings), "--dry-run", "--gpus", "3", "--gpu", "h100"]
    plan = json.loads(uwt_eval(*command, "--json").out)
    assert plan["sources"]["few"] == {"share": 0.25, "size": 3, "samples": 15, "epochs": 5}
    assert plan["sources"]["many"] == {"share": 0.75, "size": 6, "samples": 45, "epochs": 7.5}
    assert plan["partition"] == [
        {"who": "ranks 0, 2", "images": "2 x 32x32"},
        {"who": "rank 1", "images": "1 x 64x64"},
    ]
    printed = uwt_eval(*command).out
    assert "source many" in printed
    assert "ranks 0, 2" in printed


def test_the_third_stage_plans_its_own_mixture(uwt_eval: CommandLine) -> None:
    shown = uwt_eval("show", "stage3")
    assert "faces@0.3" in shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["face=PHOTOS"], "the settings mix no source 'face'; did you mean 'faces'"),
        (["faces=PHOTOS"], "the settings also mix text, general; give text=PATH"),
        (["faces=PHOTOS@1", "faces=PHOTOS@1"], "source faces is given twice"),
        (["faces=PHOTOS@0", "text=PHOTOS@1"], "weight 0 is not positive"),
        (["faces=PHOTOS/none@1", "text=PHOTOS@1"], "does not exist"),
        (["faces=EMPTY@1", "text=PHOTOS@1"], "source faces: "),
        (["PHOTOS", "text=PHOTOS@1"], "of several sources each has a name"),
    ],
)
def test_what_cannot_be_mixed_is_one_line(
    uwt_eval: CommandLine,
    photo_folder: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"PHOTOS": str(photo_folder), "EMPTY": str(tmp_path / "empty")}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    mixture = "data.mixture=faces@0.3,text@0.2,general@0.5"
    command = [*arguments(None, tmp_path / "out", mixture, "steps=1"), "--device", "cpu"]
    result = uwt_eval(*command, "--data", *words)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_word_of_no_option_is_refused(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval(*arguments(None, tmp_path), "stray")
    assert result.code == 2
    assert "stray: what is it? sources follow --data" in result.err
