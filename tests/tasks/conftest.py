"""A tiny tokenizer with heads, and class vectors for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from uniwetok.losses.config import DistillationConfig
from uniwetok.losses.distillation import PrePostDistillation
from uniwetok.losses.heads import save_heads
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

WIDTH = 8
FOLDERS = ("n00000000", "n00000001", "n00000002")
TINY = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=1, heads=4)
PROTOCOL = """
title = "Vectors from a file"
[kind.zeroshot]
decode = {{ exif = "ignore", alpha = "drop", sixteen_bit = "clip" }}
geometry = {{ resize = 64, crop = 64 }}
logits = "float64"
ties = "lower-index"
classifier = {{ source = "file", space = "tiny", path = "{path}", sha256 = "{sha256}" }}
"""


def save_model(folder: Path, seed: int = 0, *, pre: bool = True, post: bool = True) -> Path:
    """A tokenizer and its heads, as training leaves them."""
    torch.manual_seed(seed)
    UniWeTok(TINY).save_pretrained(folder)
    heads = PrePostDistillation(DistillationConfig(pre=pre, post=post), 128, WIDTH)
    save_heads(folder, heads, teacher="tiny", tag=None)
    return folder


def write_protocol(folder: Path, width: int = WIDTH) -> Path:
    """Random vectors of three classes, and the protocol that names them."""
    vectors = np.random.default_rng(0).normal(size=(len(FOLDERS), width)).astype(np.float32)
    path = folder / "vectors.npz"
    np.savez(path, vectors=vectors, folders=np.array(FOLDERS))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    protocol = folder / "tiny.toml"
    protocol.write_text(PROTOCOL.format(path=path, sha256=sha256), encoding="utf-8")
    return protocol


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("trained") / "table16" / "model")


@pytest.fixture
def protocol_file(tmp_path: Path) -> Path:
    return write_protocol(tmp_path)
