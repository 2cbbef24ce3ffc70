"""How much uniwetok-ar-nano repeats its photographs: `python -m benchmarks.nano.nearest CODES …`.

Images are compared by the share of their codes' bits that are equal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from uniwetok.ar import BitDance, Guidance, sample
from uniwetok.nano import AR_WEIGHTS, GUIDANCE, SCHEDULE, STEPS, WEIGHTS
from uniwetok.randomness import stream
from uniwetok.tokenizer import UniWeTok, quantizer
from uniwetok.train import TrainingError
from uniwetok.train.codes.cache import CENTER_VIEWS, Codes, open_codes
from uniwetok.train.codes.views import center_view
from uniwetok.train.data.augment import to_model_range
from uniwetok.train.engine.logs import to_pixels

_SAMPLES_A_CLASS = 4
_PAIRS_SHOWN = 8


def nearest(queries: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Give the nearest other of each query, int64 (n,), and the share of equal bits, (n,).

    Args:
        queries: (n, bits, grid, grid), +1 or -1.
        others: (m, bits, grid, grid), likewise.
    """
    products = queries.flatten(1) @ others.flatten(1).T
    shares, places = (products / queries[0].numel() / 2 + 0.5).max(1)
    return places, shares


def draw_samples(each: int) -> Tensor:
    """Draw ``each`` images of every class as the plug-in does: (n, bits, grid, grid)."""
    model = BitDance.from_checkpoint(AR_WEIGHTS)
    labels = torch.arange(model.config.classes).repeat_interleave(each)
    noise = [stream(0, "nearest", index) for index in range(len(labels))]
    guidance = Guidance(scale=GUIDANCE, schedule=SCHEDULE)
    return sample(model, labels, noise, guidance=guidance, steps=STEPS)


def read_views(codes: Codes) -> Tensor:
    """Read all views of all photographs: (photographs, views, bits, grid, grid)."""
    origin = codes.header.origin
    views = origin.views + CENTER_VIEWS
    images, numbers = (axis.ravel() for axis in np.indices((len(codes), views)))
    packed = torch.from_numpy(codes.read(images, numbers))
    grid = (origin.grid, origin.grid)
    signs = quantizer.unpack_bytes(packed, grid, origin.latent_channels)
    return signs.view(len(codes), views, *signs.shape[1:])


def encode_photos(tokenizer: UniWeTok, folder: Path, side: int) -> Tensor:
    """Encode the center crops of a folder's photographs: (n, bits, grid, grid).

    Raises:
        ValueError: there are none.
    """
    codes = []
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as image:
            pixels = to_model_range(center_view(image.convert("RGB"), side))
        codes.append(tokenizer.encode(pixels[None]))
    if not codes:
        raise ValueError(f"{folder}: holds no .jpg; give the folder `heldout` of the photographs")
    return torch.cat(codes)


def draw_pairs(tokenizer: UniWeTok, samples: Tensor, originals: Tensor) -> Image.Image:
    """Draw some samples, each with its original on its right."""
    pairs = torch.stack([samples, originals], dim=1).flatten(0, 1)
    noise = [stream(0, "pictures", index) for index in range(len(pairs))]
    grid = make_grid(to_pixels(tokenizer.decode(pairs, generator=noise)), 4, pad_value=255)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())


def _spread(shares: Tensor) -> str:
    low, middle, high = shares.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    return f"{middle:.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="How much uniwetok-ar-nano repeats photographs.")
    parser.add_argument("codes", type=Path, help="RUN/codes of `uwt-eval train ar`")
    parser.add_argument("heldout", type=Path, help="photographs that it was not trained on")
    parser.add_argument("target", type=Path, help="picture to write: samples and what is nearest")
    arguments = parser.parse_args()
    try:
        codes = open_codes(arguments.codes)
        if codes is None:
            parser.exit(2, f"error: {arguments.codes}: no codes are there\n")
        tokenizer = UniWeTok.from_pretrained(WEIGHTS)
        heldout = encode_photos(tokenizer, arguments.heldout, codes.header.origin.resolution)
    except (TrainingError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    photos = read_views(codes)
    views = photos.flatten(0, 1)
    samples = draw_samples(_SAMPLES_A_CLASS)
    places, shares = nearest(samples, views)
    crops = torch.cat([nearest(photo[:1], photo[1:])[1] for photo in photos])
    unseen = nearest(heldout, views)[1]
    print(f"bits in common with the nearest of {len(views)} training views; median, 5% to 95%")
    print(f"  {len(samples)} samples: {_spread(shares)}")
    print(f"  {len(crops)} crops and the nearest other crop of their photograph: {_spread(crops)}")
    print(f"  {len(unseen)} held-out photographs: {_spread(unseen)}")
    above = (shares > unseen.max()).float().mean().item()
    print(f"samples nearer to a training view than any held-out photograph is: {above:.0%}")
    shown = torch.arange(_PAIRS_SHOWN) * (len(samples) // _PAIRS_SHOWN)
    draw_pairs(tokenizer, samples[shown], views[places[shown]]).save(arguments.target)


if __name__ == "__main__":
    main()
