"""`uwt-eval train tokenizer` as a user runs it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import REPOSITORY, CommandLine
from uniwetok.commands import locking
from uniwetok.train.engine import trackers
from uniwetok.train.engine.checkpoints import Checkpoints
from uniwetok.train.engine.logs import Logs, read_log

SMALL = (
    "model.channels=32",
    "model.channel_multipliers=1,1,1",
    "model.num_res_blocks=1",
    "model.attention_blocks=1",
    "model.heads=2",
    "model.latent_channels=16",
    "model.groups=2",
    "loss.lpips_weight=0",
    "data.resolution=32",
    "data.workers=0",
    "precision=float32",
    "batch_size=4",
    "log_every=1",
    "checkpoint_every=2",
    "grid_every=0",
    "validate_every=0",
)


def arguments(data: Path | None, out: Path, *settings: str) -> list[str]:
    given = [f"--set={item}" for item in (*SMALL, *settings)]
    where = ["--data", str(data)] if data else []
    return ["train", "tokenizer", "--preset", "table14", *where, "--out", str(out), *given]


def printed_command(said: str) -> list[str]:
    """The words of the command that `train` ends with, as each shell that is here reads them."""
    (line,) = (line for line in said.splitlines() if line.startswith("evaluate it: "))
    command = line.removeprefix("evaluate it: ")
    words = shlex.split(command)
    for shell in filter(shutil.which, ("sh", "bash", "zsh")):
        script = f"printf '%s\\n' {command}"
        read = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
        assert read.stdout.splitlines() == words, shell
    assert words[0] == "uwt-eval"
    return words


def test_a_plan_says_how_often_the_only_source_is_seen(
    uwt_eval: CommandLine, photo_folder: Path
) -> None:
    words = ("--data", photo_folder, "--set", "steps=6", "--set", "batch_size=8", "--dry-run")
    plan = uwt_eval("train", "tokenizer", "--preset", "nano", *words)
    assert plan.code == 0, plan.err
    text = " ".join(plan.out.split())
    images = len([*photo_folder.rglob("*.png")])
    seen = json.loads(uwt_eval("train", "tokenizer", "--preset", "nano", *words, "--json").out)
    source = seen["sources"][""]
    assert source["size"] == images
    assert source["epochs"] == pytest.approx(source["samples"] / images)
    assert f"source 100.0% {source['samples']:.0f} seen, of {images} there" in text


@pytest.mark.parametrize("recipe", ["tokenizer", "ar", "mllm"])
def test_settings_taken_for_options_are_told_how_they_are_given(
    uwt_eval: CommandLine, recipe: str
) -> None:
    for words, said in (
        (("--steps", "6"), "no option --steps: settings are given by --set steps=6"),
        (("--batch-size=8",), "no option --batch-size: settings are given by --set batch_size=8"),
        (("--setps", "6"), "No such option: --setps"),
    ):
        done = uwt_eval("train", recipe, "--preset", "nano", *words)
        assert (done.code, done.out) == (2, "")
        assert said in done.err


@pytest.mark.parametrize("seconds", ["-2", "0", "nan", "inf"])
def test_seconds_that_no_step_takes_are_refused(uwt_eval: CommandLine, seconds: str) -> None:
    words = ("--preset", "nano", "--dry-run", "--json", "--seconds-per-step", seconds)
    done = uwt_eval("train", "tokenizer", *words)
    assert (done.code, done.out) == (2, "")
    assert f"--seconds-per-step {seconds}: give seconds above 0" in done.err


def test_the_printed_command_evaluates_the_tokenizer(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    data, out = tmp_path / "my photos?", tmp_path / "it's [mine]"
    photo_folder.rename(data)
    trained = uwt_eval(*arguments(data, out, "steps=1"), "--device", "cpu")
    assert trained.code == 0, trained.err
    words = printed_command(trained.out)
    few = ("--limit", "2", "--device", "cpu", "--out", tmp_path / "runs")
    done = uwt_eval(*words[1:], *few, "--json")
    assert done.code == 0, done.err
    assert done.records[0]["metrics"]["psnr"]["value"] > 0


def test_a_run_is_trained_resumed_and_evaluated(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    first = uwt_eval(*arguments(photo_folder, tmp_path / "a", "steps=2"), "--device", "cpu")
    assert first.code == 0, first.err
    assert "done: 2 steps" in first.out
    more = uwt_eval(
        *arguments(photo_folder, tmp_path / "a", "steps=3"), "--device", "cpu", "--json"
    )
    assert more.code == 0, more.err
    result = json.loads(more.out)
    assert result["steps"] == 3
    assert [row["step"] for row in read_log(tmp_path / "a")] == [1, 2, 3]
    evaluated = uwt_eval(
        "run",
        "imagenet-recon",
        "-m",
        f"uniwetok:{result['model']}",
        "--limit",
        "1",
        "--json",
        "--out",
        str(tmp_path / "runs"),
        "--metrics",
        "psnr",
    )
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)[0]["metrics"]["psnr"]["value"] > 0


def test_a_wetok_is_trained_validated_and_evaluated(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    sizes = [item for item in SMALL if "attention" not in item and "heads" not in item]
    given = [f"--set={item}" for item in (*sizes, "steps=1", "validate_every=1")]
    result = uwt_eval(
        "train", "tokenizer", "--preset", "wetok-16x", "--data", str(photo_folder),
        "--heldout", str(photo_folder), "--validate-limit", "1", *given,
        "--out", str(tmp_path / "a"), "--device", "cpu", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    trained = json.loads(result.out)
    assert trained["steps"] == 1
    assert list((tmp_path / "a" / "validation").iterdir())
    assert {"l1", "commitment"} <= read_log(tmp_path / "a")[0].keys()
    evaluated = uwt_eval(
        "run", "imagenet-recon", "-m", f"wetok:{trained['model']}", "--limit", "1", "--json",
        "--out", str(tmp_path / "runs"), "--metrics", "psnr,bpp",
    )  # fmt: skip
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)[0]["metrics"]["bpp"]["value"] == 1


def test_validation_is_the_task_that_run_runs(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    result = uwt_eval(
        *arguments(photo_folder, tmp_path, "steps=1", "validate_every=1", "grid_every=1"),
        "--heldout", str(photo_folder), "--validate-limit", "2", "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    (row,) = (row for row in read_log(tmp_path) if row["kind"] == "validation")
    assert row["psnr"] > 0
    assert (tmp_path / "pictures" / "step-00000001.png").is_file()


def test_a_validated_training_has_the_bits_of_one_that_is_not(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    def trained(name: str, *words: str) -> Path:
        given = arguments(photo_folder, tmp_path / name, "steps=3", "ema_decay=0.5")
        result = uwt_eval(*given, "--device", "cpu", *words)
        assert result.code == 0, result.err
        return tmp_path / name

    validation = ("--validate", "imagenet-recon", "--validate-data", str(photo_folder))
    often = ("--validate-every", "1", "--validate-limit", "1", "--best", "psnr")
    plain, watched = trained("plain"), trained("watched", *validation, *often)
    losses = [
        [row["loss"] for row in read_log(each) if row["kind"] == "train"]
        for each in (plain, watched)
    ]
    assert losses[0] == losses[1]
    models = [(each / "model" / "model.safetensors").read_bytes() for each in (plain, watched)]
    assert models[0] == models[1]
    found = {row["step"]: row["psnr"] for row in read_log(watched) if row["kind"] == "validation"}
    assert list(found) == [1, 2, 3]
    best = json.loads((watched / "best" / "best.json").read_text())
    assert best == {"metric": "psnr", "value": max(found.values()), "step": best["step"]}
    assert found[best["step"]] == best["value"]
    again = uwt_eval(
        "run", "imagenet-recon", "-m", f"uniwetok:{watched / 'best'}", "--data", photo_folder,
        "--limit", "1", "--device", "cpu", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert again.records[0]["metrics"]["psnr"]["value"] == best["value"]


def test_trackers_are_told_what_is_logged(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in (2, 3):
        result = uwt_eval(
            *arguments(photo_folder, tmp_path, f"steps={steps}"), "--device", "cpu",
            "--log", "tensorboard", "--log", "tensorboard",
        )  # fmt: skip
        assert result.code == 0, result.err
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    told = {each.step: each.value for each in board.Scalars("train/loss")}
    assert told == pytest.approx({row["step"]: row["loss"] for row in read_log(tmp_path)})
    assert list(told) == [1, 2, 3]
    assert "train/mfu" not in board.Tags()["scalars"]


def test_a_place_that_is_not_there_is_told_with_its_source(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
) -> None:
    for place, said in ((f"{tmp_path}/no@0.5", ""), (f"{tmp_path}/no@x", "@x does not exist")):
        mixture = ("--data", f"here={photo_folder}@0.5", "--data", f"there={place}")
        result = uwt_eval(*arguments(None, tmp_path / "run"), *mixture)
        assert result.code == 2
        hint = f"{said} ('x' is no weight)" if said else " does not exist"
        assert result.err.strip() == f"error: --data: source there: {tmp_path}/no{hint}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--log", "wandbb"), "--log wandbb: did you mean 'wandb'?"),
        (("--log", "trackio"), "--log trackio: it is not installed; pip install trackio"),
        (("--best", "psnr"), "--best psnr: nothing is validated; give --validate-every N"),
        (
            ("--best", "pnsr", "--validate-every", "1"),
            "--best pnsr: not a metric of imagenet-recon; did you mean 'psnr'?",
        ),
        (("--validate", "imagenet-gen"), "it takes ClassToImage or ImageFiles, this trains none"),
        (("--validate-data", "nowhere"), "--validate-data: nowhere does not exist"),
    ],
)
def test_what_cannot_be_watched_is_one_line(
    uwt_eval: CommandLine,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "trackio" else name)
    result = uwt_eval(*arguments(photo_folder, tmp_path / "run"), "--device", "cpu", *words)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("loss.entropy.wieght=1",), "did you mean 'weight'"),
        (("batch_size=many",), "batch_size=many"),
        (("batch_size=4", "accumulation=3"), "use 3 or 6"),
        (("data.resolution=33",), "multiples of 4"),
        (("loss.lpips_weight=1",), "uwt-eval assets fetch vgg16"),
        (("loss.distillation=default",), "hf download"),
        (("init=nowhere.ckpt",), "nowhere.ckpt"),
        (("init=",), "init is empty: name the weights to start from, or init=none"),
        (("optimizer.weight_decay=nan",), "optimizer: weight_decay=nan must be finite"),
        (("optimizer.learning_rate=inf",), "optimizer: learning_rate=inf must be finite"),
        (("optimizer.epsilon=inf",), "optimizer: epsilon=inf must be finite"),
        (("loss.entropy.temperature=inf",), "loss.entropy: temperature=inf must be finite"),
        (("loss.l2_weight=inf",), "loss: l2_weight=inf must be finite"),
        (("loss.adversarial.lecam_weight=inf",), "lecam_weight=inf must be finite"),
        (("shard=true",), "torchrun"),
    ],
)
def test_bad_settings_are_one_line(
    uwt_eval: CommandLine,
    photo_folder: Path,
    tmp_path: Path,
    settings: tuple[str, ...],
    message: str,
):
    result = uwt_eval(*arguments(photo_folder, tmp_path, *settings), "--device", "cpu")
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_bad_names_and_places_are_one_line(uwt_eval: CommandLine, tmp_path: Path):
    empty, file = tmp_path / "empty", tmp_path / "notes.txt"
    empty.mkdir()
    file.write_text("mine")
    for given, message in (
        (arguments(None, tmp_path), "--data is missing"),
        (arguments(tmp_path / "nowhere", tmp_path), "nowhere"),
        (arguments(tmp_path, tmp_path / "run"), "lies among the images of"),
        (arguments(empty, tmp_path / "run"), "holds no image"),
        (arguments(empty, file), "is a file, no folder: give another place"),
        (arguments(empty, file / "run"), "is a file, no folder: give another place"),
        (["train", "tokenizer", "--preset", "tabel14"], "did you mean"),
        ([*arguments(tmp_path, tmp_path), "--device", "tpu"], "auto or cpu"),
    ):
        result = uwt_eval(*given)
        assert result.code == 2, given
        assert message in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.txt"]
    assert file.read_text() == "mine"


def test_another_architecture_is_refused(uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path):
    assert uwt_eval(*arguments(photo_folder, tmp_path, "steps=1"), "--device", "cpu").code == 0
    result = uwt_eval(
        *arguments(photo_folder, tmp_path, "steps=2", "model.attention_blocks=2"),
        "--device", "cpu",
    )  # fmt: skip
    assert result.code == 2
    assert "model.attention_blocks=1" in result.err


def test_a_run_that_diverged_at_once_begins_anew_with_other_settings(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path
):
    out = tmp_path / "run"
    hot = arguments(photo_folder, out, "steps=3", "checkpoint_every=3", "optimizer.epsilon=1e-30")
    failed = uwt_eval(*hot, "--set", "optimizer.learning_rate=1e30", "--device", "cpu")
    assert failed.code == 2, failed.err
    assert "lower optimizer.learning_rate and start again" in failed.err
    lower = uwt_eval(*hot, "--set", "optimizer.learning_rate=1e-4", "--device", "cpu")
    assert lower.code == 0, lower.err
    assert json.loads((out / "config.json").read_text())["optimizer"]["learning_rate"] == 1e-4


WAITING = """
import sys, time
from pathlib import Path
from uniwetok.train.engine.logs import Logs
from uwt_eval.main import main

write = Logs.write
def waiting(self, step, *words):
    # After its fifth step a run waits for a word, so that a signal finds it at work.
    write(self, step, *words)
    while step == 5 and not Path(sys.argv[sys.argv.index("--out") + 1], "go").exists():
        time.sleep(0.01)
Logs.write = waiting
main()
"""


def start(data: Path, out: Path, *settings: str) -> subprocess.Popen[str]:
    given = arguments(data, out, *settings)
    return subprocess.Popen(
        [sys.executable, "-c", WAITING, *given, "--device", "cpu"],
        # Sums over other numbers of threads would have other bits.
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, their children do not listen to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_runs_that_are_killed_or_stopped_go_on_to_the_same_bits(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two in processes of their own, of which one decodes in another; one, by SIGTERM, in this."""
    steps = ("steps=8",)
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    runs = {
        number: start(photo_folder, tmp_path / number.name, *steps, *own)
        for number, own in (
            (signal.SIGKILL, ("checkpoint_every=2",)),
            (signal.SIGINT, ("checkpoint_every=99", "data.workers=1")),
        )
    }
    said = dict.fromkeys(numbers, "")
    monkeypatch.setattr(locking, "_PATIENCE", 0.1)
    for number, run in runs.items():
        while len(read_log(tmp_path / number.name)) < 5:
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.01)
        out = tmp_path / number.name
        second = uwt_eval(*arguments(photo_folder, out, *steps), "--device", "cpu")
        assert second.code == 2
        assert second.err.strip() == (
            f"error: {out} is in use by another training (process {run.pid}): wait for it, or give "
            "another --out"
        )
        run.send_signal(number)
        if number == signal.SIGKILL:
            assert run.wait(60) == -signal.SIGKILL
            continue
        assert run.stderr is not None
        while "stopping after this step" not in said[number]:
            said[number] += run.stderr.readline()
            assert run.poll() is None, said[number]
        (tmp_path / number.name / "go").touch()
        said[number] += run.communicate(timeout=300)[1]
        assert run.returncode == 130, said[number]
    write = Logs.write

    def stopping(self: Logs, step: int, *values: Any) -> None:
        write(self, step, *values)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as context:
        context.setattr(Logs, "write", stopping)
        out = tmp_path / signal.SIGTERM.name
        stopped = uwt_eval(
            *arguments(photo_folder, out, *steps, "checkpoint_every=99"), "--device", "cpu"
        )
    assert stopped.code == 130, stopped.err
    said[signal.SIGTERM] = stopped.err
    for number in (signal.SIGTERM, signal.SIGINT):
        assert "step 2 of 8: loss " in said[number]
        assert " images/s, 0:" in said[number]
        (step,) = Checkpoints(tmp_path / number.name / "checkpoints").steps()
        last = said[number].splitlines()[-1]
        assert f"stopped after step {step} of 8" in last
        assert f"goes on with: uwt-eval train tokenizer --preset table14 --data {photo_folder}" in (
            last
        )
    for name in ("whole", *(number.name for number in numbers)):
        done = uwt_eval(*arguments(photo_folder, tmp_path / name, *steps), "--device", "cpu")
        assert done.code == 0, done.err
    whole = tmp_path / "whole"
    for number in numbers:
        out = tmp_path / number.name
        bits = [(each / "model" / "model.safetensors").read_bytes() for each in (whole, out)]
        assert bits[0] == bits[1], number
        losses = [[row["loss"] for row in read_log(each)] for each in (whole, out)]
        assert losses[0] == losses[1]
        assert torch.tensor(losses).isfinite().all()
