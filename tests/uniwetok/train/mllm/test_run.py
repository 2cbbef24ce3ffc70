"""A run of the multimodal model end to end: it learns, resumes exactly and can be used."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.uniwetok.mllm import toys
from tests.uniwetok.train.mllm.tiny import (
    records,
    tiny_run,
    write_data,
    write_images,
    write_language_model,
    write_lines,
    write_tokenizer,
)
from uniwetok.mllm import Assistant, Drawing
from uniwetok.train import TrainingError
from uniwetok.train.engine.logs import read_log
from uniwetok.train.engine.loop import Finished, Hooks
from uniwetok.train.mllm.config import MLLMTraining, SequenceData
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.run import train_mllm

Train = Callable[..., Finished]


class Killed(Exception):
    """Stands for a process that ends between two steps."""


@pytest.fixture
def config(tmp_path: Path) -> MLLMTraining:
    return tiny_run(write_language_model(tmp_path / "qwen"))


@pytest.fixture
def train(tmp_path: Path) -> Train:
    data, tokenizer = write_data(tmp_path), write_tokenizer(tmp_path / "tokenizer")

    def run(name: str, config: MLLMTraining, hooks: Hooks | None = None, **given: Any) -> Finished:
        return train_mllm(
            config,
            open_records(given.get("data", data)),
            given.get("tokenizer", tokenizer),
            tmp_path / f"codes-{name}",
            tmp_path / name,
            device="cpu",
            hooks=hooks,
        )

    return run


def weights(finished: Finished) -> list[bytes]:
    files = sorted(finished.model.glob("*.safetensors"))
    assert len(files) == 4
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "on the fly"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
    train: Train, config: MLLMTraining, tmp_path: Path, cache: bool
) -> None:
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, cache=cache), ema_decay=0.5
    )
    whole = train("whole", config)

    def stop(done: int, values: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train("parts", config, Hooks(on_step=stop))
    notices: list[str] = []
    parts = train("parts", config, Hooks(on_notice=notices.append))
    assert notices == ["going on after step 4 of 6", "8 of 8 samples are trained on"]
    assert weights(parts) == weights(whole)
    logs = [[row["loss"] for row in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 3


def test_what_is_exported_answers_and_says_how_it_was_trained(
    train: Train, config: MLLMTraining, tmp_path: Path
) -> None:
    finished = train("run", config)
    assistant = Assistant.from_pretrained(finished.model)
    assert assistant.model.config == config.model
    state = torch.load(tmp_path / "run" / "checkpoints" / "step-00000006.pt", weights_only=True)
    for name, weight in assistant.model.state_dict().items():
        assert torch.equal(weight, state["trainer"]["model"]["network"][name])
    (picture,) = assistant.generate(
        ["A red square"], [0], Drawing(height=64, width=96, cfg=2, steps=2)
    )
    assert picture.shape == (64, 96, 3)
    row = read_log(tmp_path / "run")[-1]
    kinds = {name.partition("/")[2] for name in row if name.startswith("vision_loss/")}
    assert kinds == {"text-image", "interleaved", "edit"}
    spoken = {name.partition("/")[2] for name in row if name.startswith("text_loss/")}
    assert spoken == {"interleaved", "chat"}
    assert 0.3 < row["row_filled"] <= 1


def test_images_that_have_no_codes_are_told(
    train: Train, config: MLLMTraining, tmp_path: Path
) -> None:
    """Their headers were read, which is all that the look at the samples needs."""
    image = tmp_path / "images" / "1.png"
    image.write_bytes(image.read_bytes()[:-3000])
    notices: list[str] = []
    tolerant = dataclasses.replace(config.data, corrupt_limit=1.0, row_tokens=400)
    train("run", dataclasses.replace(config, data=tolerant), Hooks(on_notice=notices.append))
    (told,) = [line for line in notices if "could not be read" in line]
    assert re.match(
        r"1 of \d+ images could not be read and had to be left out; first .*1\.png", told
    )


def test_it_learns(train: Train, config: MLLMTraining, tmp_path: Path) -> None:
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, text_weight=1.0, flip_rate=0.0),
        optimizer=dataclasses.replace(config.optimizer, learning_rate=5e-3),
        data=dataclasses.replace(config.data, condition_dropout=0.0, source_dropout=0.0),
        steps=60,
        log_every=20,
        checkpoint_every=1000,
        gradient_checkpointing=True,
    )
    train("run", config)
    first, *_, last = read_log(tmp_path / "run")
    assert last["text_loss"] < 0.5 * first["text_loss"]
    assert last["vision_loss"] < 0.8 * first["vision_loss"]


def test_a_run_goes_on_from_an_earlier_model(
    train: Train, config: MLLMTraining, tmp_path: Path
) -> None:
    before = train("pretrain", dataclasses.replace(config, steps=2))
    captions = write_lines(tmp_path / "captions.jsonl", records(write_images(tmp_path))[:2])
    tuned = dataclasses.replace(
        config,
        init=str(before.model),
        model=dataclasses.replace(config.model, text_weight=1.0),
        data=dataclasses.replace(config.data, kinds=("text-image",)),
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-12),
    )
    after = train("gen", tuned, data=captions, tokenizer=None)
    one, other = (Assistant.from_pretrained(run.model).model for run in (before, after))
    assert other.config.text_weight == 1.0
    for name, weight in one.state_dict().items():
        assert torch.allclose(weight, other.state_dict()[name], atol=1e-6)
    wider = dataclasses.replace(tuned, model=dataclasses.replace(tuned.model, diffusion_blocks=4))
    with pytest.raises(TrainingError, match=r"--set model\.diffusion_blocks=2"):
        train("wider", wider, data=captions, tokenizer=None)


def test_parts_that_do_not_fit_are_refused(
    train: Train, config: MLLMTraining, tmp_path: Path
) -> None:
    def changed(**changes: Any) -> MLLMTraining:
        return dataclasses.replace(config, **changes)

    cases: list[tuple[MLLMTraining, dict[str, Any], str]] = [
        (changed(language_model="./nowhere"), {}, "--language-model ./nowhere: there is no"),
        (changed(model=toys.config(width=64)), {}, "is 32 wide.*--set model.width=32"),
        (changed(model=toys.config(latent_channels=8)), {}, "tokens of 8 bits"),
        (config, {"tokenizer": None}, "--tokenizer is missing"),
        (changed(data=SequenceData(row_tokens=4096)), {}, "context of 512 tokens; --set"),
        (changed(shard=True), {}, "shard=true needs several processes"),
        (changed(init=str(tmp_path / "none")), {}, "none: no such folder"),
    ]
    for number, (run, given, message) in enumerate(cases):
        with pytest.raises(TrainingError, match=message):
            train(f"case-{number}", run, **given)


def test_a_tokenizer_without_its_special_tokens_is_refused(
    train: Train, config: MLLMTraining, tmp_path: Path
) -> None:
    finished = train("run", dataclasses.replace(config, steps=1))
    shutil.copytree(finished.model, tmp_path / "broken")
    toys.text_tokenizer().save_pretrained(tmp_path / "broken")
    with pytest.raises(TrainingError, match=r"the text tokenizer lacks 21 special tokens"):
        train("other", dataclasses.replace(config, init=str(tmp_path / "broken")), tokenizer=None)


def test_a_run_keeps_its_samples_and_tokenizer(
    train: Train, config: MLLMTraining, tmp_path: Path
) -> None:
    train("run", dataclasses.replace(config, steps=1))
    fewer = write_lines(tmp_path / "fewer.jsonl", records(write_images(tmp_path))[:5])
    with pytest.raises(TrainingError, match="holds a run on other samples"):
        train("run", config, data=fewer)
    other = toys.image_tokenizer()
    with torch.no_grad():
        other.encoder.conv_out.bias.add_(1)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(TrainingError, match="holds a run on another image tokenizer"):
        train("run", config, tokenizer=tmp_path / "other")
    for name in ("data.json", "config.json"):
        for damaged in (b"{", b"\xff{}"):
            whole = (tmp_path / "run" / name).read_bytes()
            (tmp_path / "run" / name).write_bytes(damaged)
            with pytest.raises(TrainingError, match=rf"{name}: not .* give another --out"):
                train("run", config)
            (tmp_path / "run" / name).write_bytes(whole)
