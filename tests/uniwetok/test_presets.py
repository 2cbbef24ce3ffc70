"""Presets against the paper's tables, field by field."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from reports.paper import load_table
from uniwetok import presets
from uniwetok.losses.config import PriorConfig
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uniwetok.train import TrainingError
from uniwetok.train.engine.overrides import override
from uniwetok.train.tokenizer.config import PAPER_TEACHER, TokenizerTraining

TABLES = range(14, 34)

# What each printed setting means for a run. Written down here once more, apart from
# `Preset.settings`, which would otherwise vouch for itself.
MEANING: dict[str, Callable[[TokenizerTraining, Any], bool]] = {
    "image size": lambda run, value: [run.data.resolution] * 2 == value and run.data.buckets == (),
    "data augmentation": lambda run, value: run.data.crop == "random" and value == "random crop",
    "downsample": lambda run, value: [run.model.downsample] * 2 == value,
    "ema": lambda run, value: (run.ema_decay == 0.999) is value,
    "group number": lambda run, value: run.model.groups == value,
    "group channel": lambda run, value: run.model.latent_channels == value * run.model.groups,
    "optimizer": lambda run, value: value == "Adam",
    "optimizer momentum": lambda run, value: list(run.optimizer.betas) == value,
    "weight decay": lambda run, value: run.optimizer.weight_decay == value,
    "learning rate schedule": lambda run, value: (
        run.optimizer.schedule == "constant" and value == "consistent"
    ),
    "learning rate": lambda run, value: run.optimizer.learning_rate == value,
    "warmup steps": lambda run, value: run.optimizer.warmup_steps == value,
    "cos decay end ratio": lambda run, value: run.optimizer.final_ratio == value,
    "total steps": lambda run, value: run.steps == value,
    "channel_mult": lambda run, value: list(run.model.channel_multipliers) == value,
    "channel": lambda run, value: run.model.channels == value,
    "num_res_blocks": lambda run, value: run.model.num_res_blocks == value,
    "bottleneck channel double": lambda run, value: (run.model.bottleneck == "double") is value,
    "num_attn_blocks": lambda run, value: run.model.attention_blocks == value,
    "generative decoder": lambda run, value: value is True,
    "semantic teacher": lambda run, value: (
        run.loss.distillation is None if value == "-" else run.teacher == value
    ),
    "SigLu activation": lambda run, value: (
        run.model.siglu is value and run.loss.commitment_weight == (0 if value else 0.25)
    ),
    "pre distillation": lambda run, value: (
        (run.loss.distillation is not None and run.loss.distillation.pre) is value
    ),
    "post distillation": lambda run, value: (
        (run.loss.distillation is not None and run.loss.distillation.post) is value
    ),
    "distill head": lambda run, value: (
        run.loss.distillation is None or run.loss.distillation.head == value
    ),
    "prior model": lambda run, value: (
        run.prior in (PriorConfig(query=True), PriorConfig(query=False))
        if value == "BitDance-T"
        else run.prior is None
    ),
    "query token": lambda run, value: (run.prior is not None and run.prior.query) is value,
    "global batchsize": lambda run, value: run.batch_size == value,
}


@pytest.mark.parametrize("number", TABLES)
def test_preset_is_what_the_table_prints(number: int) -> None:
    preset = presets.get(f"table{number}")
    printed = load_table(number)["settings"]
    assert preset.data == printed.pop("training data")
    wrong = {
        name: value for name, value in printed.items() if not MEANING[name](preset.config, value)
    }
    assert not wrong
    absent = {"distill head"} if number == 27 else set()
    assert MEANING.keys() - printed.keys() == absent


@pytest.mark.parametrize("number", TABLES)
def test_preset_differs_in_the_tables_words_only_where_noted(number: int) -> None:
    preset = presets.get(f"table{number}")
    printed, ours = load_table(number)["settings"], preset.settings()
    different = {name for name in printed if printed[name] != ours[name]}
    assert different == ({"distill head"} if number == 14 else set())
    assert list(ours) == list(load_table(16)["settings"])


@pytest.mark.parametrize(
    "change",
    [
        "model.siglu=false",
        "loss.commitment_weight=0.25",
        "model.bottleneck=single",
        "model.attention_blocks=0",
        "model.num_res_blocks=0",
        "model.groups=32",
        "loss.distillation.pre=false",
        "loss.distillation.head=attention",
        "loss.distillation=none",
        "prior=none",
        "prior.query=false",
        "prior.layers=3",
        "batch_size=1024",
        "steps=250000",
        "optimizer.betas=0.9,0.999",
        "optimizer.schedule=cosine",
        "ema_decay=0",
        "data.crop=center",
        "data.buckets=256x256,512x512",
        "teacher=efficientnet-lite0",
    ],
)
def test_a_wrong_preset_would_be_found(change: str) -> None:
    wrong = override(presets.get("table16").config, [change])
    printed = load_table(16)["settings"]
    assert not all(MEANING[name](wrong, printed[name]) for name in MEANING)


def test_tables_that_print_one_configuration_give_one() -> None:
    same = [("table15", "table22", "table24", "table25"), ("table16", "table27")]
    same += [("table19", "table21"), ("table30", "table31")]
    for names in same:
        assert len({presets.get(name).config for name in names}) == 1
    assert len({presets.get(f"table{number}").config for number in TABLES}) == 20 - 3 - 1 - 1 - 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("table14", "SigLu is off here and on in Tab. 15"),
        ("table15", 'headed "w/o. PPD"'),
        ("table16", "2.35 in Tab. 1 and 2.38 in Tab. 5"),
        ("table18", "--set loss.distillation.pre=false"),
        ("table20", "chance"),
        ("table22", "51.32 in Tab. 3 and 46.89"),
        ("table27", 'no row "distill head"'),
        ("table28", "0 attention blocks"),
        ("table29", 'headed "bs1024"'),
        ("table32", "1024 channels at every resolution"),
    ],
)
def test_the_papers_slips_are_noted(name: str, words: str) -> None:
    assert words in " ".join(presets.get(name).notes)


def test_the_way_out_of_a_slip_works() -> None:
    story = override(presets.get("table18").config, ["loss.distillation.pre=false"])
    assert story.loss.distillation is not None
    assert (story.loss.distillation.pre, story.loss.distillation.post) == (False, True)
    fair = ["model.siglu=true", "loss.commitment_weight=0"]
    without_ppd = override(presets.get("table14").config, fair)
    default = override(presets.get("table15").config, ["loss.distillation=none"])
    assert without_ppd == default


def test_stages_share_sizes_and_the_model_and_need_the_previous_one() -> None:
    first, second, third = (presets.get(f"stage{number}") for number in (1, 2, 3))
    assert first.config == presets.get("uniwetok-256-datacomp").config
    assert first.needs == ()
    assert second.needs == third.needs == ("init",)
    assert second.config.model == third.config.model == first.config.model
    assert third.config.data.mixture == ("faces@0.3", "text@0.2", "general@0.5")
    assert second.config.data == dataclasses.replace(third.config.data, mixture=())
    assert first.config.data.buckets == ()
    assert third.config.optimizer.final_ratio == 0
    assert third.config.steps * 10 == first.config.steps


def test_later_stages_have_squares_and_both_orientations() -> None:
    buckets = presets.get("stage2").config.data.buckets
    assert {(256, 256), (384, 384), (512, 512)} <= set(buckets)
    assert len(buckets) == len(set(buckets))
    assert {(width, height) for height, width in buckets} == set(buckets)
    assert all(side % 32 == 0 for size in buckets for side in size)


def test_names_are_the_keys_and_everything_is_said() -> None:
    for name, preset in presets.PRESETS.items():
        assert preset.name == name
        assert preset.title
        assert preset.source
        assert preset.data
        assert preset.config.teacher == PAPER_TEACHER
        assert all(note.rstrip(".)") != note for note in preset.notes)


@pytest.mark.parametrize(("name", "nearest"), [("tabel16", "table16"), ("stage-2", "stage2")])
def test_unknown_preset_suggests(name: str, nearest: str) -> None:
    with pytest.raises(TrainingError, match=f"unknown preset '{name}': did you mean '{nearest}'"):
        presets.get(name)


@pytest.mark.parametrize(
    ("name", "parameters", "side", "bits"),
    [("wetok-8x", None, 8, 32), ("wetok-16x", 460e6, 16, 32), ("wetok-768", None, 32, 32)],
)
def test_wetok_has_its_released_sizes(
    name: str, parameters: float | None, side: int, bits: int
) -> None:
    config = presets.get(name).config
    assert (config.model.downsample, config.model.latent_channels) == (side, bits)
    assert config.model.bits_per_group == 8
    assert config.model.generative == (name == "wetok-768")
    assert config.loss.commitment_weight == 0.25
    assert config.loss.distillation is None
    assert config.prior is None
    if parameters:  # BitDance's README has 460M for its 16x autoencoder, which is of this size.
        with torch.device("meta"):
            network = UniWeTok(config.model)
        assert sum(each.numel() for each in network.parameters()) == pytest.approx(parameters, 5e-3)


def test_what_uniwetok_adds_is_added_to_wetok_one_by_one() -> None:
    preset, first = presets.get("wetok-32x"), presets.get("table14").config
    model = UniWeTokConfig(siglu=False)
    assert dataclasses.replace(preset.config, model=model) == first
    changes = re.findall(r"--set (\S+=\w+)", " ".join(preset.notes))
    changed = override(preset.config, changes)
    full = presets.get("table16").config
    assert (changed.loss, changed.prior) == (full.loss, full.prior)
    assert (changed.model.siglu, changed.model.bottleneck) == (True, "double")
