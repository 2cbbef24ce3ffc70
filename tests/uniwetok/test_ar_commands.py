"""`uwt-eval train ar` as a user runs it."""

from __future__ import annotations

import json
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from tasks import PROTOCOLS
from tests.conftest import CommandLine
from tests.uniwetok.test_commands import printed_command
from tests.uniwetok.train.ar.tiny import tiny_tokenizer
from uniwetok.train.engine.logs import read_log

SMALL = (
    "model.width=32",
    "model.layers=2",
    "model.heads=2",
    "model.diffusion_width=64",
    "model.diffusion_blocks=2",
    "model.latent_channels=16",
    "model.grid=4",
    "model.classes=2",
    "model.class_tokens=4",
    "data.resolution=16",
    "data.views=1",
    "data.workers=0",
    "precision=float32",
    "batch_size=4",
    "optimizer.warmup_steps=1",
    "log_every=1",
    "checkpoint_every=2",
    "grid_every=0",
)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def arguments(out: Path, *settings: str) -> list[str]:
    given = [f"--set={item}" for item in (*SMALL, *settings)]
    return ["train", "ar", "--preset", "uniwetok-b", "--out", str(out), "--device", "cpu", *given]


def test_a_model_is_trained_resumed_and_sampled(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    places = ("--data", photo_folder / "val", "--tokenizer", tokenizer)
    first = uwt_eval(*arguments(tmp_path / "run", "steps=2"), *places)
    assert first.code == 0, first.err
    assert "done: 2 steps" in first.out
    more = uwt_eval(*arguments(tmp_path / "run", "steps=3"), *places, "--json")
    assert more.code == 0, more.err
    model = json.loads(more.out)["model"]
    assert [row["step"] for row in read_log(tmp_path / "run")] == [1, 2, 3]
    drawn = uwt_eval(
        "sample", "--model", f"uniwetok-ar:{model}?tokenizer={tokenizer}", "--classes", "0,1",
        "--steps", "2", "--device", "cpu", "--out", tmp_path / "grid.png",
    )  # fmt: skip
    assert drawn.code == 0, drawn.err


def test_the_printed_command_evaluates_own_classes(
    uwt_eval: CommandLine, tmp_path: Path, photos: list[Image.Image], tokenizer: Path
) -> None:
    data, out = tmp_path / "my photos", tmp_path / "it's [mine]"
    for index, photo in enumerate(photos):
        (data / f"class {index % 2}").mkdir(parents=True, exist_ok=True)
        photo.save(data / f"class {index % 2}" / f"{index}.png")
    trained = uwt_eval(*arguments(out, "steps=1"), "--data", data, "--tokenizer", tokenizer)
    assert trained.code == 0, trained.err
    more = arguments(tmp_path / "more", "steps=1", "model.classes=4")
    few = uwt_eval(*more, "--data", data, "--tokenizer", tokenizer)
    assert "the data has 2 classes, the model 4" in few.err
    settings = tomllib.loads((tmp_path / "more" / "protocol.toml").read_text())["kind"]["c2i"]
    assert settings["class_names"] == ["class 0", "class 1", "2", "3"]
    words = printed_command(trained.out)
    settings = tomllib.loads((out / "protocol.toml").read_text())["kind"]["c2i"]
    assert settings["class_names"] == ["class 0", "class 1"]
    assert settings["samples_per_class"] == 1024
    few = ("--limit", "2", "--device", "cpu", "--out", tmp_path / "runs", "--json")
    done = uwt_eval(*words[1:], *few)
    assert done.code == 0, done.err
    assert "draws 2 classes of its own" in done.err
    assert (done.records[0]["n"], done.records[0]["n_failed"]) == (2, 0)
    model = words[words.index("-m") + 1]
    drawn = uwt_eval(
        "sample", "--model", model, "--classes", "class 1", "--steps", "1", "--device", "cpu",
        "--out", tmp_path / "grid.png",
    )  # fmt: skip
    assert drawn.code == 0, drawn.err


def test_without_the_tokenizer_it_is_asked_for(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    codes = ("--codes", tmp_path / "codes")
    made = uwt_eval(
        *arguments(tmp_path / "first", "steps=1"),
        *("--data", photo_folder / "val", "--tokenizer", tokenizer),
        *codes,
    )
    assert made.code == 0, made.err
    trained = uwt_eval(*arguments(tmp_path / "run", "steps=1"), *codes)
    assert trained.code == 0, trained.err
    asked, _, command = trained.out.splitlines()[-1].partition(", then ")
    assert asked == "evaluate it: put the tokenizer of its codes there as 'tokenizer'"
    words = [*shlex.split(command)[1:], "--limit", "1", "--device", "cpu", "--out", tmp_path / "r"]
    assert "needs the tokenizer it was trained with" in uwt_eval(*words).err
    shutil.copytree(tokenizer, tmp_path / "run" / "model" / "tokenizer")
    done = uwt_eval(*words)
    assert done.code == 0, done.err


def test_on_the_fly_keeps_no_codes(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    result = uwt_eval(
        *arguments(tmp_path / "run", "steps=1"), "--on-the-fly",
        "--data", photo_folder / "val", "--tokenizer", tokenizer,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert not (tmp_path / "run" / "codes").exists()


def test_validation_is_the_task_that_run_runs(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    protocol = tmp_path / "small.toml"
    protocol.write_text((PROTOCOLS / "adm.toml").read_text().replace("size = 256", "size = 16"))
    result = uwt_eval(
        *arguments(tmp_path / "run", "steps=1", "validate_every=1", "model.classes=1000"),
        "--data", photo_folder / "val", "--tokenizer", tokenizer, "--validate-limit", "1",
        "--protocol", protocol,
    )  # fmt: skip
    assert result.code == 0, result.err
    (root,) = (tmp_path / "run" / "validation").glob("imagenet-gen-*")
    assert (root / "samples.npz").is_file()
    kinds = [row["kind"] for row in read_log(tmp_path / "run")]
    assert kinds == ["train", "validation"]


def test_the_plan_is_the_papers(uwt_eval: CommandLine) -> None:
    result = uwt_eval("train", "ar", "--preset", "uniwetok-b", "--dry-run", "--json")
    assert result.code == 0, result.err
    plan = json.loads(result.out)
    assert sum(plan["parameters"].values()) == 242_594_432
    assert plan["tokens"] == pytest.approx(33e9, rel=0.01)
    assert plan["epochs"]["ImageNet"] == pytest.approx(400, rel=1e-3)
    assert plan["flops"]["backward"] == pytest.approx(2 * plan["flops"]["forward"], rel=0.02)


def test_a_plan_finds_what_the_run_would_refuse(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    flat = shutil.copytree(next((photo_folder / "val").iterdir()), tmp_path / "flat")
    known = ("--tokenizer", tokenizer)
    for settings, given, message in (
        ((), ("--data", photo_folder / "val"), "give --tokenizer to make them"),
        ((), ("--data", flat, *known), "has no class: give a folder with a sub-folder a class"),
        (("model.classes=1",), ("--data", photo_folder / "val", *known), "raise model.classes"),
    ):
        for how in (("--dry-run",), ()):
            result = uwt_eval(*arguments(tmp_path / "run", *settings), *given, *how)
            assert (result.code, result.out) == (2, ""), (given, how)
            assert message in result.err, (given, how)
    whole = ("--data", photo_folder / "val", *known, "--dry-run")
    assert uwt_eval(*arguments(tmp_path / "run"), *whole).code == 0


def test_codes_and_weights_that_do_not_fit_are_one_line(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    data, codes = ("--data", photo_folder / "val"), ("--codes", tmp_path / "codes")
    first = uwt_eval(
        *arguments(tmp_path / "run", "steps=1"), *data, *codes, "--tokenizer", tokenizer
    )
    assert first.code == 0, first.err
    tiny_tokenizer(1).save_pretrained(tmp_path / "other")
    model = tmp_path / "run" / "model"
    for given, message in (
        ((*data, "--tokenizer", tmp_path / "other"), "made by another tokenizer"),
        ((f"--set=init={model}", "--set=model.width=64"), "of a configuration with width=32"),
        ((f"--set=init={tmp_path / 'nowhere'}",), "no such file"),
        (("--set=shard=true",), "needs several processes"),
    ):
        result = uwt_eval(*arguments(tmp_path / "next", "steps=1"), *codes, *given)
        assert result.code == 2, given
        assert message in result.err, given
        assert len(result.err.strip().splitlines()) == 1, result.err
    result = uwt_eval(*arguments(tmp_path / "run", "steps=2", "model.layers=3"), *codes)
    assert result.code == 2
    assert "holds a run with model.layers=2, asked for is model.layers=3" in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_bad_input_is_one_line(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, tokenizer: Path
) -> None:
    data, known = ("--data", photo_folder / "val"), ("--tokenizer", tokenizer)
    run, broken = tmp_path / "run", tmp_path / "broken.pt"
    broken.write_bytes(b"")
    for given, message in (
        (arguments(run), "give --data and --tokenizer"),
        ([*arguments(run), *data, "--tokenizer", broken], f"--tokenizer: {broken}: not a torch"),
        ([*arguments(run), *data], "no codes are there yet; give --tokenizer to make them"),
        ([*arguments(run), *known], "no codes are there yet; give --data to make them"),
        ([*arguments(run), *data, "--tokenizer", tmp_path / "nowhere"], "nowhere"),
        (
            [*arguments(run), *data, "--tokenizer", f"uniwetok:{tokenizer}"],
            f"--tokenizer uniwetok:{tokenizer}: give the path alone, without uniwetok:",
        ),
        # Its 128 bits a token are not the 16 of this model.
        ([*arguments(run), *data, "--tokenizer", "uniwetok-nano"], "the tokenizer has 128 bits"),
        ([*arguments(run, "model.latent_channels=8"), *data, *known], "16 bits a token"),
        ([*arguments(run, "data.resolution=20"), *data, *known], "model.grid=4"),
        ([*arguments(run, "batch_size=5", "accumulation=2"), *data, *known], "use 4 or 6"),
        ([*arguments(run, "data.veiws=1"), *data, *known], "did you mean 'views'"),
        (["train", "ar", "--preset", "uniwetok-x"], "did you mean"),
        ([*arguments(run), "--device", "tpu"], "auto or cpu"),
    ):
        result = uwt_eval(*given)
        assert result.code == 2, given
        assert message in result.err, given
        assert len(result.err.strip().splitlines()) == 1
