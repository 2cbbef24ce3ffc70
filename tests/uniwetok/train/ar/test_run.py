"""A run of the class-to-image model end to end: codes are made, it learns, it resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tests.uniwetok.train.ar.tiny import TINY_AR, tiny_tokenizer
from uniwetok.ar import BitDance
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train import TrainingError
from uniwetok.train.ar.config import ARTraining, CodesConfig
from uniwetok.train.ar.run import train_ar
from uniwetok.train.ar.trainer import ARTrainer
from uniwetok.train.codes import integrity
from uniwetok.train.codes.cache import open_codes
from uniwetok.train.codes.stream import CodeBatch
from uniwetok.train.data.opening import open_images
from uniwetok.train.engine.logs import read_log
from uniwetok.train.engine.loop import Finished, Hooks

Train = Callable[..., Finished]


class Killed(Exception):
    """Stands for a process that ends between two steps."""


@pytest.fixture
def train(tmp_path: Path, photo_folder: Path) -> Train:
    def run(
        name: str,
        config: ARTraining = TINY_AR,
        hooks: Hooks | None = None,
        seed: int = 0,
        *,
        source: bool = True,
    ) -> Finished:
        return train_ar(
            config,
            open_images(photo_folder / "val") if source else None,
            tiny_tokenizer(seed),
            tmp_path / "codes",
            tmp_path / name,
            device="cpu",
            hooks=hooks,
        )

    return run


@pytest.mark.parametrize("views", [2, 0], ids=["cached", "on the fly"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
    train: Train, tmp_path: Path, views: int
) -> None:
    config = dataclasses.replace(TINY_AR, data=dataclasses.replace(TINY_AR.data, views=views))
    whole = train("whole", config)

    def stop(done: int, values: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train("parts", config, Hooks(on_step=stop))
    notices: list[str] = []
    parts = train("parts", config, Hooks(on_notice=notices.append))
    going_on, unseen = notices
    assert going_on == "going on after step 4 of 6"
    assert unseen.startswith("the data has 2 classes, the model 10, of which the others are never")
    weights = [run.model.joinpath("model.safetensors").read_bytes() for run in (whole, parts)]
    assert weights[0] == weights[1]
    losses = [[row["loss"] for row in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


def test_the_model_is_the_average_and_says_whose_codes_it_knows(
    train: Train, tmp_path: Path
) -> None:
    finished = train("run")
    state = torch.load(tmp_path / "run" / "checkpoints" / "step-00000006.pt", weights_only=True)
    model = BitDance.from_checkpoint(finished.model)
    assert model.config == TINY_AR.model
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state["trainer"]["ema"][name])
    identity = json.loads((finished.model / "tokenizer.json").read_text())
    assert identity == {"encoder_sha256": encoder_digest(tiny_tokenizer())}


def test_images_that_have_no_codes_are_told_and_counted(
    train: Train, tmp_path: Path, photo_folder: Path
) -> None:
    """Few are none of the build's business; the line is the same where the codes are there."""
    dead, *_, damaged = sorted((photo_folder / "val").rglob("*.png"))
    dead.unlink()
    dead.symlink_to(tmp_path / "nowhere.png")
    damaged.write_bytes(damaged.read_bytes()[:200])
    config = dataclasses.replace(TINY_AR, checkpoint_every=2)
    for name, source, first in (
        ("made", True, f"{dead}: cannot be read (No such file or directory)"),
        ("found", True, f"{dead}: cannot be read (No such file or directory)"),
        ("codes alone", False, "number 0 of the codes"),
    ):
        notices: list[str] = []
        train(name, config, Hooks(on_notice=notices.append), source=source)
        told = f"2 of 6 images could not be read and had to be left out; first {first}"
        assert notices.count(told) == 1
        assert {row["unreadable"] for row in read_log(tmp_path / name)} == {2}
    train("made", dataclasses.replace(config, steps=8))
    assert read_log(tmp_path / "made")[-1]["unreadable"] == 2


def test_the_loss_falls(train: Train) -> None:
    config = dataclasses.replace(
        TINY_AR,
        model=dataclasses.replace(TINY_AR.model, flip_rate=0.0, loss_repeats=4),
        batch_size=6,
        steps=120,
        log_every=20,
        checkpoint_every=1000,
        optimizer=dataclasses.replace(TINY_AR.optimizer, learning_rate=3e-3),
    )
    losses = [row["loss"] for row in read_log(train("run", config).model.parent)]
    assert losses[-1] < 0.75 * losses[0]


def test_parts_of_a_batch_add_up_to_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # Parts draw their own noise; so a loss without any takes the true one's place.
    def objective(model: BitDance, codes: torch.Tensor, *_: object) -> torch.Tensor:
        return (codes.flatten(1).mean(0)[: len(model.norm.weight)] * model.norm.weight).sum()

    monkeypatch.setattr(BitDance, "objective", objective)
    packed = torch.arange(128, dtype=torch.uint8).view(4, 32)
    batch = CodeBatch(packed, torch.tensor([1, 2, 1, 2]))
    terms = []
    for accumulation in (1, 2, 4):
        config = dataclasses.replace(TINY_AR, accumulation=accumulation)
        trainer = ARTrainer(config, "0", device="cpu")
        trainer.step(batch, 0)
        terms.append(trainer.averages())
    assert terms[0]["gradient_norm"] > 0.1
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    assert terms[0] == pytest.approx(terms[2], rel=1e-5)


def test_weight_decay_spares_what_the_released_training_spares() -> None:
    trainer = ARTrainer(TINY_AR, "0", device="cpu")
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    decayed, spared = trainer._trained["model"][1].optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert "layers.0.attention.wqkv.weight" in {names[id(w)] for w in decayed["params"]}
    left_out = {names[id(weight)] for weight in spared["params"]}
    assert {"cls_embedding.weight", "proj_in.w1.weight", "norm.weight"} <= left_out
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_pictures_are_made_with_the_tokenizer(train: Train, tmp_path: Path) -> None:
    train("run", dataclasses.replace(TINY_AR, steps=1, grid_every=1))
    assert (tmp_path / "run" / "pictures" / "step-00000001.png").is_file()


def test_codes_alone_are_enough(train: Train, tmp_path: Path) -> None:
    whole = train("whole")
    again = train_ar(TINY_AR, None, None, tmp_path / "codes", tmp_path / "again", device="cpu")
    weights = [run.model.joinpath("model.safetensors").read_bytes() for run in (whole, again)]
    assert weights[0] == weights[1]
    with pytest.raises(TrainingError, match="no codes are there yet; give --data and --tokenizer"):
        train_ar(TINY_AR, None, None, tmp_path / "none", tmp_path / "other", device="cpu")


def test_codes_of_another_tokenizer_or_other_settings_are_refused(train: Train) -> None:
    train("run", dataclasses.replace(TINY_AR, steps=1))
    with pytest.raises(TrainingError, match="made by another tokenizer"):
        train("other", seed=1)
    more = dataclasses.replace(TINY_AR, data=dataclasses.replace(TINY_AR.data, views=3))
    with pytest.raises(TrainingError, match="made with views=2, asked for is views=3"):
        train("other", more)


def test_codes_of_other_pictures_under_the_same_names_are_refused(
    train: Train, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = dataclasses.replace(TINY_AR, steps=1)
    train("run", once)
    later = SimpleNamespace(time_ns=lambda: time.time_ns() + 10**12)
    monkeypatch.setattr(integrity, "time", later)
    train("again", once)  # Its content is read once more, and the files' state kept.
    with monkeypatch.context() as patch:
        patch.setattr(integrity, "_content", pytest.fail)
        train("third", once)
    for number, path in enumerate(sorted(photo_folder.rglob("*.png"))):
        stat = path.stat()
        Image.new("RGB", (64, 64), (40 * number, 0, 0)).save(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(TrainingError, match=r"other images \(names, classes or content differ\)"):
        train("other", once)


def test_a_run_does_not_change_its_tokenizer(train: Train, tmp_path: Path) -> None:
    fresh = dataclasses.replace(
        TINY_AR, steps=1, data=CodesConfig(resolution=16, views=0, workers=0)
    )
    train("run", fresh)
    with pytest.raises(TrainingError, match="another tokenizer's codes"):
        train("run", dataclasses.replace(fresh, steps=2), seed=1)
    assert open_codes(tmp_path / "codes") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"latent_channels": 8}}, "16 bits a token, the model 8"),
        ({"data": {"resolution": 32}}, "model.grid=4; --set data.resolution=16"),
        ({"model": {"classes": 1}}, "is of class 1, the model has classes 0..0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    train: Train, change: dict[str, dict[str, int]], message: str
) -> None:
    ((part, values),) = change.items()
    config = dataclasses.replace(
        TINY_AR, **{part: dataclasses.replace(getattr(TINY_AR, part), **values)}
    )
    with pytest.raises(TrainingError, match=message):
        train("run", config)
