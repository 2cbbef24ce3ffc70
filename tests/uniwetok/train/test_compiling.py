"""Compiled training: the losses of training without, under the same names of weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.uniwetok.train.ar.tiny import TINY_AR, tiny_tokenizer
from tests.uniwetok.train.mllm.tiny import (
    tiny_run,
    write_data,
    write_images,
    write_language_model,
    write_tokenizer,
)
from tests.uniwetok.train.tiny import TINY
from uniwetok.fields import flatten
from uniwetok.tensors import WEIGHTS_FILE
from uniwetok.train.ar.run import train_ar
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.logs import read_log
from uniwetok.train.engine.loop import Finished
from uniwetok.train.engine.settings import RunSettings
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.run import train_mllm
from uniwetok.train.tokenizer.run import train
from uniwetok.weights import Weights

Recipe = tuple[RunSettings, Callable[..., Finished]]


def tokenizer(folder: Path, photos: Path) -> Recipe:
    # Of noise: where pictures are flat, latents are 0 within rounding, and bits flip with it.
    write_images(folder)
    source = open_images(folder / "images")
    config = replace(TINY, data=replace(TINY.data, buckets=((32, 32), (32, 64))))
    return config, lambda config, out: train(config, source, out, device="cpu")


def ar(folder: Path, photos: Path) -> Recipe:
    source, codes = open_images(photos), folder / "codes"
    return TINY_AR, lambda config, out: train_ar(
        config, source, tiny_tokenizer(), codes, out, device="cpu"
    )


def mllm(folder: Path, photos: Path) -> Recipe:
    data, images = write_data(folder), write_tokenizer(folder / "tokenizer")
    config = tiny_run(write_language_model(folder / "qwen"))
    return config, lambda config, out: train_mllm(
        config, open_records(data), images, folder / "codes", out, device="cpu"
    )


RECIPES = pytest.mark.parametrize("recipe", [tokenizer, ar, mllm], ids=lambda each: each.__name__)


def logged(out: Path, name: str = "loss") -> list[float]:
    return [row[name] for row in read_log(out)]


def names(finished: Finished, out: Path, step: int) -> set[str]:
    path = out / "checkpoints" / f"step-{step:08d}.pt"
    state = flatten(torch.load(path, weights_only=True))
    return {*state, *Weights(finished.model / WEIGHTS_FILE).shapes}


@RECIPES
def test_names_of_weights_stay_and_either_goes_on_from_the_other(
    recipe: Callable[[Path, Path], Recipe],
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[Callable[..., Any]] = []

    def compile_(called: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """Stand for the compiler, which takes minutes."""
        compiled.append(called)
        return called

    monkeypatch.setattr(torch, "compile", compile_)
    config, run = recipe(tmp_path, photo_folder / "val")
    config = replace(config, steps=1, log_every=1, checkpoint_every=1)
    out = tmp_path / "eager"
    expected = names(run(replace(config, compile=False), out), out, 1)
    assert not compiled
    out = tmp_path / "compiled"
    assert names(run(replace(config, compile=True), out), out, 1) == expected
    assert len(compiled) > 1
    run(replace(config, compile=False, steps=2), out)
    assert len(logged(out)) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs a C++ compiler")
@pytest.mark.parametrize(
    ("recipe", "again"),
    [(tokenizer, False), (ar, False), (ar, True), (mllm, True)],
    ids=["tokenizer", "ar", "ar, blocks run again", "mllm, blocks run again"],
)
def test_losses_are_those_without_within_rounding(
    recipe: Callable[[Path, Path], Recipe], again: bool, tmp_path: Path, photo_folder: Path
) -> None:
    config, run = recipe(tmp_path, photo_folder / "val")
    # Adam's first steps are signs of gradients, those that are rounding alone too; not with this.
    optimizer = replace(config.optimizer, learning_rate=0.01, epsilon=1.0)
    config = replace(config, optimizer=optimizer, steps=3, log_every=1, checkpoint_every=3)
    config = replace(config, gradient_checkpointing=again)
    torch._dynamo.reset()
    counters.clear()
    for chosen in (False, True):
        run(replace(config, compile=chosen), tmp_path / str(chosen))
        assert (counters["stats"]["unique_graphs"] > 1) is chosen
    for name in ("loss", "gradient_norm"):
        eager, compiled = (logged(tmp_path / out, name) for out in ("False", "True"))
        # As much as weights that are rounded otherwise move it.
        assert compiled == pytest.approx(eager, rel=2e-4)
        assert len(set(eager)) == 3
