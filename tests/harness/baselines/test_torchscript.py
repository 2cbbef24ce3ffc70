"""Tokenizers as pairs of TorchScript files, continuous and with a codebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.baselines.torchscript import TorchScriptPair
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine


class Encoder(nn.Module):
    """Means of 8x8 pixels, as Cosmos' continuous encoders give a tuple."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (nn.functional.avg_pool2d(images, 8),)


class Decoder(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents.float(), scale_factor=8.0)


class Symbols(nn.Module):
    """The green mean as one of 60 levels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = nn.functional.avg_pool2d(images, 8)[:, 1].float()
        return ((means + 1) * 29.5).round().int(), means


class FromSymbols(nn.Module):
    def forward(self, symbols: Tensor) -> Tensor:
        grey = (symbols.float() / 29.5 - 1)[:, None].repeat(1, 3, 1, 1)
        return nn.functional.interpolate(grey, scale_factor=8.0)


class Convolution(nn.Module):
    """Weights of one precision, as most encoders have."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        latents: Tensor = self.convolution(images)
        return latents


def pair(
    folder: Path, encoder: nn.Module, decoder: nn.Module, dtype: torch.dtype = torch.bfloat16
) -> str:
    paths = []
    example: Any = torch.zeros(1, 3, 64, 64, dtype=dtype)
    for name, module in (("encoder", encoder), ("decoder", decoder)):
        torch.jit.trace(module, example).save(folder / f"{name}.jit")
        paths.append(str(folder / f"{name}.jit"))
        example = module(example)[0].detach() if name == "encoder" else None
    return ",".join(paths)


def test_continuous_latents(tmp_path: Path) -> None:
    model = TorchScriptPair(pair(tmp_path, Encoder(), Decoder()))
    model.load("cpu")
    images = torch.rand(2, 3, 37, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = model.encode(images)
    assert codes[0].bits == 3 * 5 * 6 * 16
    found = model.decode(codes, [0, 0])
    assert found.shape == images.shape
    expected = images[:, :, :8, :8].bfloat16().mean((2, 3))
    torch.testing.assert_close(found[:, :, 0, 0], expected.float(), rtol=0, atol=0.01)


def test_symbols_of_a_stated_codebook(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    files = pair(tmp_path, Symbols(), FromSymbols())
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "--limit", 2, "--device", "cpu",
        "-m", f"torchscript:{files}?codebook=60", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    rate = 32 * 32 * np.log2(60) / 256**2
    assert record["metrics"]["bpp"]["value"] == pytest.approx(rate)
    codes = record["provenance"]["codes"]
    assert (codes["codebook"], codes["tokens"]) == ("60", 32 * 32)
    assert codes["compression"] == pytest.approx(24 / rate)
    table = uwt_eval("report", "table8", "--runs", tmp_path / "runs", "--format", "md")
    (row,) = [line for line in table.out.splitlines() if "(measured" in line]
    assert "32x32" in row


def test_a_pair_of_another_precision_tells_the_cause_and_the_remedy(tmp_path: Path) -> None:
    files = pair(tmp_path, Convolution(), Decoder(), torch.float32)
    with pytest.raises(UserError) as raised:
        TorchScriptPair(files).load("cpu")
    message = str(raised.value)
    assert "in bfloat16 (RuntimeError: " in message
    assert "interpreter" not in message
    assert "BFloat16" in message, "what torch says of the cause"
    assert message.endswith("if the files were made for float32: ?dtype=float32")
    TorchScriptPair(files, dtype="float32").load("cpu")


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    files = pair(tmp_path, Symbols(), FromSymbols())
    with pytest.raises(UserError, match="state its size by codebook="):
        TorchScriptPair(files).load("cpu")
    with pytest.raises(UserError, match="give two files"):
        _ = TorchScriptPair(files.partition(",")[0]).card
    with pytest.raises(UserError, match="there is no file"):
        _ = TorchScriptPair(f"{tmp_path / 'none.jit'},{tmp_path / 'no.jit'}").card
    broken = tmp_path / "broken.jit"
    broken.write_bytes(b"no archive")
    with pytest.raises(UserError, match="no readable TorchScript"):
        TorchScriptPair(f"{broken},{broken}").load("cpu")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match="leave out codebook="):
        TorchScriptPair(pair(other, Encoder(), Decoder()), codebook=60).load("cpu")
