"""The training of the tokenizer that ships: squares, crops, and a run of a few steps."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.nano import train as command
from benchmarks.nano.tiles import SIDE, Crops, load_tiles, squares
from benchmarks.nano.train import load_heldout, recipe, seconds_a_step, train
from uniwetok.nano import WEIGHTS
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uniwetok.tokenizer.model import encoder_digest
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.schedule import Place
from uniwetok.train.engine.logs import read_log
from uniwetok.train.engine.loop import Finished
from uniwetok.train.tokenizer.config import TokenizerTraining


@pytest.fixture
def gathered(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """A set as `benchmarks.nano.photos` writes it."""
    root = tmp_path / "photos"
    for side, chosen in (("train", photos[:4]), ("heldout", photos[4:])):
        (root / side / "package").mkdir(parents=True)
        for index, photo in enumerate(chosen):
            photo.save(root / side / "package" / f"cat{index}-0a1b2c.jpg", quality=95)
    return root


def small(steps: int) -> TokenizerTraining:
    """The recipe at the size of a test."""
    return replace(
        recipe(steps),
        model=UniWeTokConfig(
            channels=32, channel_multipliers=(1, 1), num_res_blocks=0, attention_blocks=0
        ),
        data=DataConfig(resolution=32, buckets=((32, 32), (16, 16)), workers=0),
        batch_size=2,
        precision="float32",
        validate_every=3,
    )


def test_the_weights_are_those_of_the_recipe() -> None:
    assert UniWeTok.from_pretrained(WEIGHTS).config == recipe(100).model


def test_long_photographs_give_their_ends(gathered: Path) -> None:
    long = Image.linear_gradient("L").resize((800, 400)).convert("RGB")
    assert [len(squares(long, ends=ends)) for ends in (True, False)] == [3, 1]
    assert len(squares(long.resize((500, 400)), ends=True)) == 1
    sideways = Image.linear_gradient("L").rotate(90).resize((800, 400))
    middle, left, right = squares(sideways, ends=True)
    means = [float(np.asarray(tile).mean()) for tile in (left, middle, right)]
    assert abs(means[0] - means[2]) > 80
    assert min(means) < means[1] < max(means)
    # A detail gives its middle alone, and what is too small nothing.
    before = len(load_tiles(gathered / "train"))
    long.save(gathered / "train" / "package" / "road-0a1b2c-d00.jpg")
    long.resize((300, 150)).save(gathered / "train" / "package" / "road-0a1b2c.jpg")
    assert len(load_tiles(gathered / "train")) == before + 1


def test_crops_follow_from_the_step_and_have_as_many_pixels() -> None:
    tiles = torch.randint(256, (3, 3, SIDE, SIDE), dtype=torch.uint8)
    crops = list(islice(Crops(tiles, small(10), Place(batch_size=2, seed=0)), 3))
    assert [tuple(batch.images.shape) for batch in crops] == [
        (2, 3, 32, 32),
        (8, 3, 16, 16),
        (2, 3, 32, 32),
    ]
    assert all(batch.images.abs().max() <= 1 for batch in crops)
    again = next(iter(Crops(tiles, small(10), Place(batch_size=2, seed=0, start=2))))
    assert torch.equal(again.images, crops[2].images)
    assert not torch.equal(crops[0].images, crops[2].images)


def test_crops_keep_what_a_tile_shows() -> None:
    grey = torch.full((1, 3, SIDE, SIDE), 128, dtype=torch.uint8)
    images = Crops(grey, small(10), Place(batch_size=2, seed=0)).batch(1).images
    assert images.std((1, 2, 3)).max() < 1e-5
    assert images.mean().abs() < 0.3


def test_plain_crops_are_colours_slopes_and_mists_of_what_a_tile_shows() -> None:
    tiles = torch.randint(256, (4, 3, SIDE, SIDE), dtype=torch.uint8)
    config = replace(small(10), batch_size=400)
    busy, plain, some = (
        Crops(tiles, config, Place(batch_size=400, seed=0), plain=share).batch(0).images
        for share in (0.0, 1.0, 0.25)
    )
    assert busy.std((2, 3)).amin() > 0.1  # Noise.
    assert plain.abs().max() <= 1
    flat = plain.std((2, 3)).amax(1) < 1e-6
    assert 0.15 < flat.float().mean() < 0.35  # Half have no slope, and half no mist.
    edges = plain[flat].mean((2, 3)).abs().amax(1) > 1 - 1e-6
    assert 0.15 < edges.float().mean() < 0.5
    same = (some == busy).all(3).all(2).all(1)
    assert 0.65 < same.float().mean() < 0.85


def test_a_decoder_alone_learns_what_the_same_codes_mean(gathered: Path, tmp_path: Path) -> None:
    start = UniWeTok(small(6).model)
    with torch.no_grad():
        start.encoder.conv_in.weight[0] = -0.0
    start.save_pretrained(tmp_path / "start")
    config = replace(small(6), init=str(tmp_path / "start"), freeze_encoder=True)
    tiles, heldout = load_tiles(gathered / "train"), load_heldout(gathered / "heldout", 32)
    finished = train(config, tiles, heldout, tmp_path / "run", "cpu")
    trained = UniWeTok.from_pretrained(finished.model)
    assert encoder_digest(trained) == encoder_digest(start)
    before, after = start.state_dict(), trained.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)


def test_a_short_run_learns_and_is_validated(gathered: Path, tmp_path: Path) -> None:
    tiles, heldout = load_tiles(gathered / "train"), load_heldout(gathered / "heldout", 32)
    finished = train(small(6), tiles, heldout, tmp_path / "run", "cpu")
    assert UniWeTok.from_pretrained(finished.model).config == small(6).model
    rows = read_log(tmp_path / "run")
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [3, 6]
    assert all(0 < row["psnr"] < 60 for row in rows if row["kind"] == "validation")
    losses = [row["l1"] for row in rows if row["kind"] == "train"]
    assert losses[-1] < losses[0]


def test_the_command_times_steps_and_trains(
    gathered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def finish(config: TokenizerTraining, tiles: torch.Tensor, *_: object) -> Finished:
        assert tiles.shape[1:] == (3, SIDE, SIDE)
        return Finished(config.steps, out / "model", {})

    out = tmp_path / "run"
    monkeypatch.setattr(command, "seconds_a_step", lambda *_: 0.5)
    monkeypatch.setattr(command, "train", finish)
    words = ["train", "--photos", str(gathered), "--out", str(out), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", words)
    command.main()
    done = re.search(r"done: (\d+) steps; the model is", capsys.readouterr().out)
    assert done is not None
    assert 16 <= int(done[1]) < 385 / 0.5
    for wrong, message in ((str(gathered), "is not empty"), (str(tmp_path / "a"), "holds no .jpg")):
        monkeypatch.setattr("sys.argv", [*words[:2], str(tmp_path), "--out", wrong])
        with pytest.raises(SystemExit) as stop:
            command.main()
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*words, "--decoder-only"])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert "--decoder-only needs --start" in capsys.readouterr().err


def test_steps_are_timed(gathered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_TRIAL", 1)
    assert seconds_a_step(small(4), load_tiles(gathered / "train"), "cpu") > 0
