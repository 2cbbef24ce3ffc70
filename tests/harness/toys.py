"""A tiny stochastic tokenizer, its calls counted and its failures chosen, and data for it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from harness.interfaces import Code, RunRequest
from harness.interfaces.registry import MODELS
from harness.interfaces.types import Codebook, ModelCard, ResultRecord

SIZES = ((96, 80), (80, 96), (64, 64))
"""Width and height of the tiles, in turn."""
TILES = 14
"""Four blocks on a CPU, the last of them short."""
CELL = 16
"""Side of the pixels that one token stands for."""


def nothing(_: Any) -> None:
    """A call that does not fail."""


@dataclass
class Control:
    """What the toy was asked to do, and where it is to fail."""

    loaded: int = 0
    encoded: int = 0
    decoded: int = 0
    seeds: list[int] = field(default_factory=list)
    before_encode: Callable[[Tensor], None] = nothing
    """Called with each image (3, H, W); what it raises, the model raises."""
    before_decode: Callable[[Code], None] = nothing
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Start counting again, without failures."""
        self.loaded = self.encoded = self.decoded = 0
        self.seeds = []
        self.before_encode = self.before_decode = nothing


class ToyTokenizer:
    """Mean colours of cells at 24 bits a token; decoding adds noise from the sample's own seed."""

    def __init__(self, control: Control, noise: float = 0.1) -> None:
        self.control = control
        self.noise = noise

    @property
    def card(self) -> ModelCard:
        codebook = Codebook(groups=3, bits_per_group=8)
        return ModelCard(name="toy", config={"noise": self.noise}, codebook=codebook)

    def load(self, device: str) -> None:
        with self.control.lock:
            self.control.loaded += 1

    def encode(self, images: Tensor) -> list[Code]:
        codes = []
        for image in images:
            with self.control.lock:
                self.control.encoded += 1
            self.control.before_encode(image)
            height, width = image.shape[1:]
            cells = functional.adaptive_avg_pool2d(image, (-(-height // CELL), -(-width // CELL)))
            levels = ((cells + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            codes.append(Code(levels.tobytes(), height, width))
        return codes

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        images = []
        for code, seed in zip(codes, seeds, strict=True):
            with self.control.lock:
                self.control.decoded += 1
                self.control.seeds.append(seed)
            self.control.before_decode(code)
            shape = (-(-code.height // CELL), -(-code.width // CELL), 3)
            cells = torch.from_numpy(np.frombuffer(code.payload, np.uint8).reshape(shape).copy())
            cells = cells.permute(2, 0, 1)[None].float() / 127.5 - 1
            image = functional.interpolate(cells, (code.height, code.width), mode="bilinear")[0]
            random = torch.Generator().manual_seed(seed)
            images.append(image + self.noise * torch.randn(image.shape, generator=random))
        return torch.stack(images)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    """Offers the model `toy` for one test."""
    control = Control()
    models = {**MODELS._registered, "toy": functools.partial(ToyTokenizer, control)}
    monkeypatch.setattr(MODELS, "_registered", models)
    return control


@pytest.fixture
def tiles(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """A folder of small real photos of three sizes."""
    root = tmp_path / "tiles"
    root.mkdir()
    for index in range(TILES):
        width, height = SIZES[index % len(SIZES)]
        photo = photos[index % len(photos)]
        left, top = 7 * index, 5 * index
        photo.crop((left, top, left + width, top + height)).save(root / f"tile_{index:02d}.png")
    return root


def request(tiles: Path, **changes: Any) -> RunRequest:
    """The toy on the tiles at their own size, with metrics that need no weights."""
    fields: dict[str, Any] = {
        "task": "imagenet-recon-native",
        "model": "toy",
        "protocol": "exact",
        "data": str(tiles),
        "metrics": ("bpp", "psnr", "ssim", "usage_pooled", "usage_joint"),
        "device": "cpu",
        "out": tiles.parent / "runs",
    }
    return RunRequest(**{**fields, **changes})


def paint(tile: Path) -> None:
    """Paint a tile magenta, so that `is_magenta` knows it."""
    with Image.open(tile) as image:
        size = image.size
    Image.new("RGB", size, (255, 0, 255)).save(tile)


def is_magenta(image: Tensor) -> bool:
    return bool(image[0].min() == 1 and image[1].max() == -1)


def fail_on_magenta(image: Tensor) -> None:
    if is_magenta(image):
        raise ArithmeticError("no code for magenta")


def result_of(record: ResultRecord) -> dict[str, Any]:
    """A record without what may differ between two equal runs."""
    return record.model_dump(mode="json", exclude={"provenance"})


def rows_of(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "samples.parquet").set_index("id")
