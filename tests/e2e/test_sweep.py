"""`uwt-eval sweep` with real codecs: planned, run, resumed, reported, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from PIL import Image

from harness.commands import run
from tests.conftest import CommandLine


def test_curves_of_codecs_at_native_sizes(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photos: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for at in range(12):
        part = photos[at % len(photos)].crop((0, 0, 100 + 4 * at, 90))
        part.save(tmp_path / "data" / f"{at}.png")
    words = ("imagenet-recon-native", "--data", "data", "--metrics", "psnr", "--quiet")
    rates = "{4096..16384*4}"
    models = ("-m", f"webp?bytes={rates}", "-m", f"jpeg:{rates}", "-m", "avif:8192")
    planned = uwt_eval("sweep", *words, *models, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert [plan["n_missing"] for plan in json.loads(planned.out)] == [12] * 5
    assert not (tmp_path / "runs").exists()

    # What all of them want for is said once.
    wanting = [*words[:-2], "psnr,rfid", "--quiet"]
    said = uwt_eval("sweep", *wanting, *models, "--dry-run").out
    assert said.count("weights 'inception' missing") == 1

    made = uwt_eval("sweep", *words, *models, "--json")
    assert made.code == 0, made.err
    found = json.loads(made.out)
    assert {name: len(points) for name, points in found["curves"].items()} == {
        "webp": 2, "jpeg": 2, "avif:8192": 1,
    }  # fmt: skip
    (_, jpeg) = found["differences"]
    assert (found["anchor"], jpeg["family"]) == ("webp", "jpeg")
    assert jpeg["rate"]["value"] > jpeg["rate"]["low"] > 0, "JPEG needs more bits than WebP"
    assert jpeg["quality"]["value"] < jpeg["quality"]["high"] < 0

    planned = uwt_eval("sweep", *words, *models, "--dry-run", "--json")
    assert {plan["n_missing"] for plan in json.loads(planned.out)} == {0}
    again = uwt_eval("sweep", "--runs", "runs", "--anchor", "webp", "--json")
    same = json.loads(again.out)
    assert sorted(same["differences"], key=str) == sorted(found["differences"], key=str)
    # A run of another task beside them: the task that is named chooses.
    assert uwt_eval("run", "imagenet-recon", "--data", "data", *words[3:], "-m", "webp").code == 0
    mixed = uwt_eval("sweep", "--runs", "runs")
    assert mixed.code == 2
    assert "runs of imagenet-recon-native, imagenet-recon: name the TASK" in mixed.err
    chosen = uwt_eval("sweep", "imagenet-recon-native", "--runs", "runs", "--json")
    assert json.loads(chosen.out)["curves"] == same["curves"]
    none = uwt_eval("sweep", "coco-recon", "--runs", "runs")
    assert (none.code, none.err.count("\n")) == (2, 1)
    assert "no run of coco-recon" in none.err
    parts = uwt_eval("sweep", *words, "-m", "webp:{5000,6000}", "--shard", "1/2", "--out", "parts")
    assert parts.code == 0, parts.err
    assert "uwt-eval merge" in parts.out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["imagenet-recon", "-m", "webp:512"], "a curve takes several rates, as 'webp:{512,1024"),
        (
            ["imagenet-recon", "-m", "identity"],
            "identity has one rate: a curve takes a model",
        ),
        (["imagenet-recon", "-m", "webp:{512,x}"], "webp:x: bytes must be a valid integer"),
        (["imagenet-recon", "-m", "webp:{1..9*1}"], "the range {1..9*1} never ends"),
        (["imagenet-recon", "-m", "webp:{}"], "webp:{}: braces hold no rates: write a list {512"),
        (["imagenet-recon", "-m", "webp?bytes={512}"], "braces hold no rates: write a list {512"),
        (["imagenet-recon"], "name a task and models"),
        (["imagenet-recon", "-m", "webp", "--metrics", "perplexity"], "unknown metric"),
        (["imagenet-recon", "-m", "webp", "--runs", "runs"], "there: leave --model out"),
        (["pope", "-m", "webp"], "task 'pope' measures no rate"),
        (["--runs", "nowhere"], "nowhere: no such file or folder"),
        (
            ["imagenet-recon", "-m", "webp:{512,1024}", "--report", "file"],
            "cannot write file: file is a file, no folder",
        ),
    ],
)
def test_refused_in_one_line(
    words: list[str],
    hint: str,
    uwt_eval: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    result = uwt_eval("sweep", *words)
    assert result.code == 2, result.err
    assert hint in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_that_another_sweep_is_at_is_waited_for_after_the_others(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photos: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    photos[0].crop((0, 0, 64, 64)).save(tmp_path / "data" / "0.png")
    rates = [4096, 8192, 16384]
    words = ("imagenet-recon-native", "--data", "data", "--metrics", "psnr", "--quiet", "--json")
    models = ("-m", "webp:{4096,8192,16384}")
    assert uwt_eval("run", *words, "-m", "webp:4096").code == 0
    (folder,) = Path("runs").iterdir()
    other = FileLock(folder / "run.lock")
    other.acquire()
    finished: list[int] = []

    def ends(seconds: float) -> None:
        finished.append(len(list(Path("runs").glob("*/record.json"))))
        other.release()

    monkeypatch.setenv("UWT_EVAL_WAIT", "0")
    given_up = uwt_eval("sweep", *words, *models)
    assert given_up.code == 2
    assert len(list(Path("runs").glob("*/record.json"))) == 3
    *_, last = given_up.err.splitlines()
    assert last.startswith("error: not everything could be run: ")
    assert f"{folder} is in use by another run: waited 0 s for it" in last
    monkeypatch.setenv("UWT_EVAL_WAIT", "90")
    monkeypatch.setattr(run, "time", SimpleNamespace(sleep=ends))
    made = uwt_eval("sweep", *words, *models)
    assert made.code == 0, made.err
    assert finished == [3], "the others are done first"
    told = f"{folder} is in use by another run: waiting for it after the others, at most 90 s"
    assert told in made.err
    points = json.loads(made.out)["curves"]["webp"]
    assert [point["model"] for point in points] == [f"webp:{rate}" for rate in rates]
