"""VQGAN's family beside what the released modules computed, and files that are none of it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.uniwetok.vqgan.released import CASES, image, state_dict
from uniwetok.tensors import CheckpointError
from uniwetok.vqgan import VQGAN, VQGANConfig, describe, load
from uniwetok.vqgan.autoencoder import Levels

LEVELS = Levels(
    widths=(128, 128, 256, 256, 512),
    blocks=(2, 2, 2, 2, 2),
    attention=(False, False, False, False, True),
    channels=256,
)


@pytest.mark.parametrize("case", CASES)
def test_codes_and_images_are_those_of_the_released_modules(case: str, tmp_path: Path) -> None:
    expected = CASES[case]
    torch.save(state_dict(case), tmp_path / "weights.pt")
    model = load(tmp_path / "weights.pt").double()
    codes = model.encode(image(*expected["size"]))
    assert codes.flatten().tolist() == expected["codes"]
    assert codes.shape == (1, *model.grid(*expected["size"]))
    found = model.decode(codes).flatten()[::37]
    pixels = torch.tensor(expected["pixels"], dtype=torch.float64)
    torch.testing.assert_close(found, pixels, rtol=0, atol=1e-10)


def test_ibq_is_measured_by_its_averages(tmp_path: Path) -> None:
    """As its training leaves them: raw weights, a judge's, averages without dots."""
    averaged = state_dict("ibq")
    content = {
        **{name: value + 1 for name, value in averaged.items()},
        **{"model_ema." + name.replace(".", ""): value for name, value in averaged.items()},
        "model_ema.decay": torch.tensor(0.999),
        "loss.discriminator.main.0.weight": torch.zeros(1),
    }
    torch.save({"epoch": 3, "state_dict": content}, tmp_path / "imagenet256_16384.ckpt")
    model = load(tmp_path / "imagenet256_16384.ckpt").double()
    assert model.encode(image(24, 34)).flatten().tolist() == CASES["ibq"]["codes"]
    raw = load(tmp_path / "imagenet256_16384.ckpt", ema=False)
    torch.testing.assert_close(raw.encoder.conv_in.bias, model.encoder.conv_in.bias.float() + 1)


def test_lightnings_callbacks_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning 1.0, of which VQGAN's checkpoints are, keyed callbacks' states by their classes."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    kind = type("ModelCheckpoint", (), {"__module__": name})
    for module in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    monkeypatch.setattr(sys.modules[name], "ModelCheckpoint", kind, raising=False)
    callbacks = {kind: {"best_model_score": torch.tensor(0.5), "best_model_path": "last.ckpt"}}
    content = {"state_dict": state_dict("vqgan"), "callbacks": callbacks}
    torch.save(content, tmp_path / "last.ckpt")
    monkeypatch.undo()
    model = load(tmp_path / "last.ckpt").double()
    assert model.encode(image(24, 34)).flatten().tolist() == CASES["vqgan"]["codes"]


def test_released_sizes() -> None:
    """Parameters of the published files; LlamaGen's README has 72M."""
    with torch.device("meta"):
        llamagen = VQGAN(VQGANConfig(LEVELS, LEVELS_OUT, 16384, 8, "cosine"))
        grid = VQGAN(VQGANConfig(LEVELS, LEVELS_OUT, 16384, 256, "nearest"))
    assert sum(each.numel() for each in llamagen.parameters()) == 71_883_403
    assert grid.grid(256, 384) == (16, 24)


LEVELS_OUT = Levels(widths=LEVELS.widths, blocks=(3,) * 5, attention=LEVELS.attention, channels=256)


def without(case: str, *parts: str) -> dict[str, Tensor]:
    return {k: v for k, v in state_dict(case).items() if not any(part in k for part in parts)}


def test_what_fits_no_form_is_refused_by_the_nearest(tmp_path: Path) -> None:
    deeper = state_dict("vqgan")
    deeper |= {k.replace("block.1", "block.2"): v for k, v in deeper.items() if "block.1" in k}
    extra = {**state_dict("maskgit"), "encoder.mid.1.extra.weight": torch.zeros(3)}
    nan = state_dict("llamagen")
    nan["encoder.conv_in.bias"][3] = torch.nan
    for content, expected in (
        (without("vqgan", "quantize"), "nearest to VQGAN's or IBQ's, but without quantize.embed"),
        (without("llamagen", "conv_blocks.0.res"), "nearest to LlamaGen's, but without encoder."),
        (without("var", "qresi_ls"), "nearest to VAR's, but without quantize.quant_resi"),
        (without("maskgit", "norm2"), "nearest to MaskGIT's tokenizer, but"),
        (extra, "encoder.mid.1.extra.weight (not in the model)"),
        (deeper, "it is neither: VQGAN has 2 in each, IBQ 4"),
        (nan, "encoder.conv_in.bias holds 1 of 32 values that are not finite"),
        ({"a": torch.zeros(1)}, "no tokenizer of VQGAN's family"),
    ):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(CheckpointError) as caught:
            load(tmp_path / "other.pt")
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def test_sizes_that_cannot_be_done_are_said(tmp_path: Path) -> None:
    torch.save(state_dict("var"), tmp_path / "var.pth")
    model = load(tmp_path / "var.pth")
    with pytest.raises(ValueError, match="256x256 or 512x512 pixels"):
        model.encode(image(24, 34).float())
    with pytest.raises(ValueError, match="no multiples of 2"):
        model.encode(image(33, 32).float())
    with pytest.raises(ValueError, match="681 tokens are those of no size"):
        model.decode(torch.zeros(1, 681, dtype=torch.int64))
    assert model.encode(image(64, 64).float()).shape == (1, 2240)
    with pytest.raises(ValueError, match="not finite"):
        model.encode(torch.full((1, 3, 32, 32), torch.nan))
    config, parameters = describe(tmp_path / "var.pth")
    assert (config.size, config.convolutions) == (64, 4)
    assert parameters == sum(each.numel() for each in model.parameters())


TABLE = "quantize.embedding.weight"
UNUSUAL: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "meta": (lambda table: table.to("meta"), "has a shape but no values"),
    "sparse": (lambda table: table.to_sparse(), "is sparse"),
    "quantized": (
        lambda table: torch.quantize_per_tensor(table, 0.1, 0, torch.qint8),
        "is quantized (qint8)",
    ),
    "complex": (lambda table: table + 1j, "is of complex64"),
    "whole": (lambda table: table.int(), "is of int32"),
    "bool": (lambda table: table > 0, "is of bool"),
    "one value": (lambda _: torch.zeros(1).expand(2**40, 8), "claims the shape (1099511627776, 8)"),
    "overflowing": (lambda _: torch.zeros(8).as_strided((2**59, 8), (0, 1)), "claims the shape"),
    "too large for float32": (lambda table: table.double() * 1e300, "values that are not finite"),
    "no rows": (lambda table: table[:0], "codebook of 0"),
    "one row": (lambda table: table[:1], "codebook of 1"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_is_no_plain_weight_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    change, said = UNUSUAL[kind]
    weights = {name: value.float() for name, value in state_dict("llamagen").items()}
    torch.save({"model": weights | {TABLE: change(weights[TABLE])}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a.pt")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert TABLE in str(caught.value) or "codebook" in said


def test_float8_is_read_as_its_values(tmp_path: Path) -> None:
    weights = {name: value.float() for name, value in state_dict("llamagen").items()}
    weights["quantize.codebook_used"] = torch.zeros(1).expand(65536)
    small = weights[TABLE].to(torch.float8_e4m3fn)
    torch.save({"model": weights | {TABLE: small}}, tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").state_dict()[TABLE].equal(small.float())
