"""A run end to end on real crops: it learns, it resumes bit for bit, it stops cleanly."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tests.uniwetok.train.tiny import TINY, needs_measuring
from uniwetok.tokenizer import UniWeTok
from uniwetok.train import TrainingError
from uniwetok.train.data.opening import open_images
from uniwetok.train.data.source import ImageSource
from uniwetok.train.data.stream import Batch
from uniwetok.train.engine import loop
from uniwetok.train.engine.checkpoints import Checkpoints
from uniwetok.train.engine.logs import read_log
from uniwetok.train.engine.loop import Finished, Hooks
from uniwetok.train.engine.machine import here
from uniwetok.train.tokenizer import run
from uniwetok.train.tokenizer.config import TokenizerTraining
from uniwetok.train.tokenizer.plan import measure
from uniwetok.train.tokenizer.run import train
from uniwetok.train.tokenizer.trainer import TokenizerTrainer


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def kill_after(step: int) -> Hooks:
    def on_step(done: int, values: object) -> None:
        if done == step:
            raise Killed

    return Hooks(on_step=on_step)


@pytest.fixture(scope="module")
def source(photos: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    root = tmp_path_factory.mktemp("photos")
    for index, photo in enumerate(photos):
        photo.save(root / f"{index}.png")
    return open_images(root)


@pytest.fixture(scope="module")
def whole(source: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run that nothing disturbed; its folder is read, or copied."""
    return train(TINY, source, tmp_path_factory.mktemp("whole"), device="cpu")


def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, source: ImageSource, whole: Finished
):
    with pytest.raises(Killed):
        train(TINY, source, tmp_path, device="cpu", hooks=kill_after(5))
    assert Checkpoints(tmp_path / "checkpoints").steps() == [2, 4]
    notices: list[str] = []
    parts = train(TINY, source, tmp_path, device="cpu", hooks=Hooks(on_notice=notices.append))
    assert "going on after step 4 of 6" in notices
    folders = whole.model.parent, tmp_path
    states = [
        torch.load(each / "checkpoints" / "step-00000006.pt", weights_only=True) for each in folders
    ]
    assert flat(states[0]).keys() == flat(states[1]).keys()
    for name, value in flat(states[0]).items():
        assert torch.equal(value, flat(states[1])[name]), name
    assert states[0]["trainer"]["lecam"] == states[1]["trainer"]["lecam"]
    assert whole.model.joinpath("model.safetensors").read_bytes() == (
        parts.model.joinpath("model.safetensors").read_bytes()
    )
    losses = [[row["loss"] for row in read_log(each)] for each in folders]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


def flat(state: object, path: str = "") -> dict[str, torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return {path: state}
    if not isinstance(state, dict):
        return {}
    return {
        name: tensor
        for key, value in state.items()
        for name, tensor in flat(value, f"{path}/{key}").items()
    }


def test_the_model_is_the_average_and_loads(whole: Finished):
    path = whole.model.parent / "checkpoints" / "step-00000006.pt"
    state = torch.load(path, weights_only=True)
    model = UniWeTok.from_pretrained(whole.model)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state["trainer"]["ema"][f"tokenizer.{name}"])
    assert set(whole.values) >= {"loss", "l1", "prior", "discriminator", "lecam", "epoch"}


@pytest.mark.parametrize("ema", [True, False])
def test_a_checkpoint_loads_as_the_model(whole: Finished, ema: bool):
    path = whole.model.parent / "checkpoints" / "step-00000006.pt"
    trainer = torch.load(path, weights_only=True)["trainer"]
    weights = trainer["ema"] if ema else trainer["generator"]["network"]
    model = UniWeTok.from_checkpoint(path, ema=ema)
    assert model.config == TINY.model
    assert model.report.config_source == "file"
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[f"tokenizer.{name}"])


def test_a_finished_run_does_nothing_more(tmp_path: Path, source: ImageSource, whole: Finished):
    out = shutil.copytree(whole.model.parent, tmp_path / "run")
    seen: list[int] = []
    train(TINY, source, out, device="cpu", hooks=Hooks(on_step=lambda step, _: seen.append(step)))
    assert seen == []


def test_parts_of_a_batch_add_up_to_its_gradient():
    # Parts draw their own noise, so the decoder must not look at it; and losses must be means.
    loss = dataclasses.replace(
        TINY.loss, adversarial=None, entropy=dataclasses.replace(TINY.loss.entropy, weight=0.0)
    )
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moments = []
    for parts in (1, 2):
        config = dataclasses.replace(TINY, prior=None, loss=loss, accumulation=parts)
        trainer = TokenizerTrainer(config, device="cpu")
        with torch.no_grad():
            trainer.networks.generator.tokenizer.decoder.conv_in.weight[:, 16:] = 0
        trainer.step(Batch(images, [], None, 0), 0)
        states = flat(trainer.state()["generator"]["optimizer"])
        moments.append({k: v for k, v in states.items() if k.endswith("exp_avg")})
    noise_half = "/state/tokenizer.decoder.conv_in.weight/exp_avg"
    for name, value in moments[0].items():
        other = moments[1][name]
        if name == noise_half:
            value, other = value[:, :16], other[:, :16]
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-7)


def test_another_configuration_is_refused(tmp_path: Path, source: ImageSource, whole: Finished):
    out = shutil.copytree(whole.model.parent, tmp_path / "run")
    other = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, num_res_blocks=2))
    with pytest.raises(TrainingError, match=r"model\.num_res_blocks=1, asked for is .*=2"):
        train(other, source, out, device="cpu")
    longer = dataclasses.replace(TINY, steps=7, log_every=1)
    assert train(longer, source, out, device="cpu").steps == 7


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(
    tmp_path: Path, source: ImageSource
):
    train(dataclasses.replace(TINY, steps=2), source, tmp_path, device="cpu")
    path = tmp_path / "checkpoints" / "step-00000002.pt"
    state = torch.load(path, weights_only=True)
    network = state["trainer"]["generator"]["network"]
    name = next(name for name in network if name.endswith("encoder.conv_in.weight"))
    network[name][0, 0, 0, 0] = float("nan")
    torch.save(state, path)
    with pytest.raises(TrainingError, match=r"step 3: the loss .* not finite; the last good state"):
        train(TINY, source, tmp_path, device="cpu")
    assert Checkpoints(tmp_path / "checkpoints").steps() == [2]


def test_a_batch_that_does_not_divide_is_refused():
    config = dataclasses.replace(TINY, accumulation=3)
    with pytest.raises(TrainingError, match=r"batch_size=4 .* use 3 or 6"):
        TokenizerTrainer(config, device="cpu")


def test_pictures_and_validation_are_made_where_asked(tmp_path: Path, source: ImageSource):
    calls: list[tuple[Path, int]] = []

    def validate(model: Path, step: int) -> dict[str, float]:
        calls.append((model, step))
        return {"psnr": 12.5}

    config = dataclasses.replace(TINY, grid_every=3, validate_every=4)
    train(config, source, tmp_path, device="cpu", hooks=Hooks(validate=validate))
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["step-00000003.png", "step-00000006.png"]
    assert calls == [(tmp_path / "model", 4), (tmp_path / "model", 6)]
    rows = [row for row in read_log(tmp_path) if row["kind"] == "validation"]
    assert [(row["step"], row["psnr"]) for row in rows] == [(4, 12.5), (6, 12.5)]
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 4


@needs_measuring
def test_mfu_is_the_plans_work_over_the_time_of_the_peak(
    tmp_path: Path, source: ImageSource, monkeypatch: pytest.MonkeyPatch
):
    peak = 1e9
    slow = dataclasses.replace(here("cpu"), single_flops=peak)
    monkeypatch.setattr(loop, "here", lambda _: slow)
    config = dataclasses.replace(TINY, steps=2, gradient_checkpointing=True)
    counted: list[TokenizerTraining] = []
    flops = measure(TINY).flops
    once = SimpleNamespace(flops=flops)
    monkeypatch.setattr(run, "measure", lambda config: counted.append(config) or once)
    values = train(config, source, tmp_path, device="cpu").values
    assert counted == [dataclasses.replace(config, gradient_checkpointing=False)]
    work = config.batch_size * sum(flops.values())
    expected = work / (values["seconds_per_step"] * peak)
    assert values["mfu"] == pytest.approx(expected, rel=1e-6)


def test_a_validation_takes_nothing_from_throughput(
    tmp_path: Path, source: ImageSource, monkeypatch: pytest.MonkeyPatch
):
    ahead = 0.0
    real = time.perf_counter

    def validate(model: Path, step: int) -> dict[str, float]:
        nonlocal ahead
        ahead += 1000
        return {}

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: real() + ahead))
    config = dataclasses.replace(TINY, steps=2, validate_every=1)
    hooks = Hooks(validate=validate)
    values = train(config, source, tmp_path, device="cpu", hooks=hooks).values
    assert values["seconds_per_step"] < 500


def test_fewer_steps_than_are_done_are_refused(
    tmp_path: Path, source: ImageSource, whole: Finished
):
    shutil.copytree(whole.model.parent, tmp_path / "run")
    fewer = dataclasses.replace(TINY, steps=4)
    with pytest.raises(TrainingError, match=r"run holds 6 steps, steps=4 is fewer: --set steps=6"):
        train(fewer, source, tmp_path / "run", device="cpu")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == 6


def test_other_images_are_refused(
    tmp_path: Path, source: ImageSource, whole: Finished, photos: list[Image.Image]
):
    out = shutil.copytree(whole.model.parent, tmp_path / "run")
    for index, photo in enumerate(photos):
        photo.save(tmp_path / f"{index}.png")
    longer = dataclasses.replace(TINY, steps=7)
    (tmp_path / "0.png").rename(tmp_path / "another.png")
    with pytest.raises(TrainingError, match="holds a run on other images; give the same, or"):
        train(longer, open_images(tmp_path), out, device="cpu")
    (tmp_path / "another.png").rename(tmp_path / "0.png")
    moved = train(longer, open_images(tmp_path), out, device="cpu")
    assert moved.steps == 7


def test_a_checkpoint_of_another_model_is_one_line(
    tmp_path: Path, source: ImageSource, whole: Finished
):
    shutil.copytree(whole.model.parent, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    deeper = dataclasses.replace(TINY.model, num_res_blocks=2)
    path = tmp_path / "run" / "checkpoints" / "step-00000006.pt"
    with pytest.raises(
        TrainingError, match=r"step-00000006\.pt is of another run \(\d+ of"
    ) as said:
        train(dataclasses.replace(TINY, model=deeper), source, tmp_path / "run", device="cpu")
    assert "\n" not in str(said.value)
    state = torch.load(path, weights_only=True)
    del state["trainer"]["discriminator"]
    torch.save(state, path)
    with pytest.raises(TrainingError, match=r"is of another run \(it has no 'discriminator'\)"):
        train(TINY, source, tmp_path / "run", device="cpu")
