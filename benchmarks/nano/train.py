"""Train the tokenizer that ships, within a time: `python -m benchmarks.nano.train`.

A few steps are timed first; the number of steps follows, and with it the schedule.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.nano.tiles import Crops, load_tiles
from harness.metrics.pixel import psnr, ssim
from uniwetok.losses.config import TokenizerLossConfig
from uniwetok.randomness import stream
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
from uniwetok.train import TrainingError
from uniwetok.train.codes.views import center_view
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.logs import to_pixels
from uniwetok.train.engine.loop import Finished, Hooks, Loop
from uniwetok.train.engine.machine import decide, here
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.tokenizer.config import TokenizerTraining
from uniwetok.train.tokenizer.plan import measure
from uniwetok.train.tokenizer.trainer import TokenizerTrainer

MODEL = UniWeTokConfig(
    channels=32,
    channel_multipliers=(1, 1, 2, 3, 4, 5),
    num_res_blocks=1,
    plain_levels=1,
    attention_blocks=2,
    heads=5,
)
"""Sizes of the tokenizer that ships: residual blocks at all levels but the full resolution."""
_VALIDATIONS = 8
_PLAIN = 1 / 6
"""Share of plain pictures among the crops that a decoder alone is trained on."""
_TRIAL = 10
"""Rounds over all sizes whose steps are timed, after three that are not."""


def recipe(
    steps: int, start: Path | None = None, *, decoder_only: bool = False
) -> TokenizerTraining:
    """Give the first of the three runs that made the weights, or one that goes on from another.

    Args:
        steps: of the run.
        start: the model that goes on, by small steps on small batches; None begins anew.
        decoder_only: whether it is the third, which leaves the codes as they are.
    """
    anew = TokenizerTraining(
        model=MODEL,
        loss=TokenizerLossConfig(lpips_weight=0, adversarial=None, distillation=None),
        prior=None,
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            betas=(0.9, 0.99),
            schedule="cosine",
            warmup_steps=min(200, steps // 10),
            final_ratio=0.01,
            max_gradient_norm=1.0,
        ),
        data=DataConfig(buckets=((256, 256), (256, 256), (192, 192)), workers=0),
        batch_size=64,
        steps=steps,
        compile=False,  # In so few minutes compiling for two sizes would not pay off.
        log_every=max(1, min(50, steps // 20)),
        checkpoint_every=max(1, steps // 2),
        grid_every=0,
        validate_every=max(1, steps // _VALIDATIONS),
    )
    if start is None:
        return anew
    return replace(
        anew,
        init=str(start),
        loss=replace(anew.loss, l2_weight=10.0),
        optimizer=replace(anew.optimizer, learning_rate=3e-4),
        # An image of eight teaches as much as several of 64, and a CPU is not faster with more.
        batch_size=8,
        seed=5 if decoder_only else 1,  # Other crops than those that it has seen.
        freeze_encoder=decoder_only,
    )


def load_heldout(folder: Path, side: int = 256) -> Tensor:
    """Read the center crops of a folder's photographs: float32 (N, 3, side, side) in [-1, 1].

    Raises:
        ValueError: there are none.
    """
    images = []
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as image:
            images.append(to_model_range(center_view(image.convert("RGB"), side)))
    if not images:
        raise ValueError(f"{folder}: holds no .jpg")
    return torch.stack(images)


def evaluate(tokenizer: UniWeTok, images: Tensor) -> dict[str, float]:
    """Give the mean PSNR in decibels and SSIM of images' reconstructions."""
    shown = [
        tokenizer.reconstruct(image[None].to(tokenizer.device), generator=[stream(0, "held", at)])
        for at, image in enumerate(images)
    ]
    original, again = (
        to_pixels(each.cpu()).permute(0, 2, 3, 1).numpy() for each in (images, torch.cat(shown))
    )
    return {
        "psnr": float(psnr(original, again).mean()),
        "ssim": float(ssim(original, again).mean()),
    }


def seconds_a_step(config: TokenizerTraining, tiles: Tensor, device: str) -> float:
    """Time steps of a run that is thrown away, over every size of images alike."""
    trainer = TokenizerTrainer(config, device=device)
    crops = Crops(tiles, config, trainer.place(0))
    sizes, began = len(config.data.buckets), 0.0
    for number in range((3 + _TRIAL) * sizes):
        if number == 3 * sizes:
            _wait(tiles)
            began = time.perf_counter()
        trainer.step(crops.batch(number), number)
    _wait(tiles)
    return (time.perf_counter() - began) / (_TRIAL * sizes)


def _wait(tiles: Tensor) -> None:
    if tiles.is_cuda:
        torch.cuda.synchronize()


def train(
    config: TokenizerTraining, tiles: Tensor, heldout: Tensor, out: Path, device: str
) -> Finished:
    """Train on tiles, and validate with held-out photographs along the way.

    Args:
        config: the run.
        tiles: as `load_tiles` gives them, on the device.
        heldout: as `load_heldout` gives them.
        out: the run's folder.
        device: "cpu", or "auto" for a GPU where there is one.

    Raises:
        TrainingError: the disk is full, or the loss is not finite.
    """

    def validate(folder: Path, done: int) -> Mapping[str, float]:
        values = evaluate(UniWeTok.from_pretrained(folder).to(tiles.device), heldout)
        print(f"step {done:,}: held-out PSNR {values['psnr']:.2f} dB", flush=True)
        return values

    config, _ = decide(config, here(device))
    trainer = TokenizerTrainer(config, device=device)
    plain = _PLAIN if config.freeze_encoder else 0.0
    loop = Loop(
        trainer,
        lambda place: Crops(tiles, config, place, plain=plain),
        out,
        measure,
        hooks=Hooks(validate=validate, on_notice=print),
    )
    return loop.finish()


def main() -> None:
    """Read the command line."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description="Train the tokenizer that ships, within a time.")
    parser.add_argument(
        "--photos", type=Path, required=True, help="--out of `python -m benchmarks.nano.photos`"
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder of the run")
    parser.add_argument("--start", type=Path, help="folder of a model that goes on")
    parser.add_argument(
        "--decoder-only",
        action="store_true",
        help="train the decoder of --start alone, with plain colours among the crops",
    )
    parser.add_argument("--seconds", type=float, default=385, help="for everything (385)")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    arguments = parser.parse_args()
    if arguments.out.exists() and any(arguments.out.iterdir()):
        parser.exit(2, f"error: --out {arguments.out}: is not empty; give another folder\n")
    start, decoder_only = arguments.start, arguments.decoder_only
    if decoder_only and start is None:
        parser.exit(2, "error: --decoder-only needs --start, the model whose decoder goes on\n")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    on_gpu = arguments.device == "auto" and torch.cuda.is_available()
    try:
        tiles = load_tiles(arguments.photos / "train").to("cuda" if on_gpu else "cpu")
        heldout = load_heldout(arguments.photos / "heldout")
        each = seconds_a_step(recipe(1000, start), tiles, arguments.device)
        # A part is kept for the validations, and for reading and writing.
        left = arguments.seconds * 0.95 - (time.perf_counter() - began)
        steps = max(2 * _VALIDATIONS, int(left * 0.96 / each))
        print(f"{len(tiles)} tiles; {each * 1e3:.1f} ms a step: {steps:,} steps", flush=True)
        config = recipe(steps, start, decoder_only=decoder_only)
        finished = train(config, tiles, heldout, arguments.out, arguments.device)
    except (TrainingError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"done: {finished.steps:,} steps; the model is {finished.model}")


if __name__ == "__main__":
    main()
