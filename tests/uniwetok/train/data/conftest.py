"""Small images whose pixels tell which they are, in folders and in shards."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from webdataset import ShardWriter

MakeShards = Callable[..., Path]


def png(number: int, size: tuple[int, int] = (24, 20)) -> bytes:
    """A gradient on which no two crops are alike, of a level that names the image."""
    width, height = size
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width))
    pixels = np.stack([ramp % 256, np.full_like(ramp, number), 255 - ramp % 256], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Ten images of three classes."""
    root = tmp_path / "images"
    for number in range(10):
        folder = root / f"class_{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d}.png").write_bytes(png(number))
    return root


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """Write shards in the layout of DataComp-1B with the `webdataset` package."""

    def make(shards: int = 3, each: int = 5, labels: bool = False) -> Path:
        root = tmp_path / "shards"
        root.mkdir()
        pattern = str(root / "%05d.tar")
        with ShardWriter(pattern, maxcount=each, verbose=0) as writer:
            for number in range(shards * each):
                sample: dict[str, object] = {
                    "__key__": f"{number:09d}",
                    "png": png(number),
                    "json": json.dumps({"uid": number}).encode(),
                    "txt": f"caption {number}",
                }
                writer.write(sample | ({"cls": number % 4} if labels else {}))
        (root / "00000.parquet").write_bytes(b"beside the shards, as downloads leave it")
        return root

    return make
