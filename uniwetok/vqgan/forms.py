"""Released forms of VQGAN's family, told apart by the names and shapes of their weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from uniwetok.tensors import CheckpointError, Shapes, read_shapes, shapes
from uniwetok.vqgan.autoencoder import Levels
from uniwetok.vqgan.codebooks import Search
from uniwetok.vqgan.model import VQGAN, VQGANConfig
from uniwetok.weights import Weights, listing, numbered, unwrapped

_TABLE = "quantize.embedding.weight"
_FIRST = "{}.0.block.0.conv1.weight"


@dataclass(frozen=True)
class Form:
    """How a project names the weights of its tokenizer."""

    title: str
    marks: tuple[str, ...]
    """Weights by which it is told; no other form has them all."""
    search: Search = "nearest"


_CONVOLVED = ("quant_conv.weight", "post_quant_conv.weight", _TABLE)
_LEVELS = (_FIRST.format("encoder.down"), _FIRST.format("decoder.up"))
_VQGAN = Form("VQGAN's or IBQ's", (*_LEVELS, "encoder.mid.attn_1.q.weight", *_CONVOLVED))
FORMS = (
    _VQGAN,
    Form(
        "LlamaGen's",
        ("encoder.conv_blocks.0.res.0.conv1.weight", "encoder.mid.1.q.weight", *_CONVOLVED),
        "cosine",
    ),
    Form(
        "MaskGIT's",
        (*_LEVELS, "encoder.mid.0.conv1.weight", "decoder.up.1.upsample_conv.weight", _TABLE),
    ),
    Form(
        "VAR's",
        (
            *(*_LEVELS, "encoder.mid.attn_1.qkv.weight", *_CONVOLVED),
            "quantize.quant_resi.qresi_ls.0.weight",
        ),
        "scales",
    ),
    Form(
        "Show-o's MAGVIT-v2",
        (*_LEVELS, "encoder.quant_conv.weight", "decoder.post_quant_conv.weight"),
        "signs",
    ),
)
_MID = {"0": "block_1", "1": "attn_1", "2": "block_2"}


def form_of(found: Shapes, path: Path) -> Form:
    """Tell a file's form by its weights' names.

    Raises:
        CheckpointError: it has none; the message names the nearest.
    """
    missing = {form: [name for name in form.marks if name not in found] for form in FORMS}
    nearest = min(FORMS, key=lambda form: len(missing[form]) / len(form.marks))
    if missing[nearest]:
        raise CheckpointError(
            f"{path}: no tokenizer of VQGAN's family: nearest to {nearest.title}, but without "
            f"{missing[nearest][0]}"
        )
    return nearest


def renaming(found: Shapes) -> Callable[[str], str]:
    """VQGAN's names of weights by those of the form that has these."""
    levels = numbered(found, "decoder.conv_blocks.{}.res.0.conv1.weight")

    def level(match: re.Match[str]) -> str:
        side, index, kind = match.groups()
        # LlamaGen counts the decoder's levels from the latents, VQGAN from the image.
        place = int(index) if side == "encoder" else levels - 1 - int(index)
        renamed = {"res": "block"}.get(kind, kind)
        return f"{side}.{'down' if side == 'encoder' else 'up'}.{place}.{renamed}"

    def rename(name: str) -> str:
        if levels:
            name = re.sub(r"^(encoder|decoder)\.conv_blocks\.(\d+)\.(\w+)", level, name)
            return re.sub(
                r"^(encoder|decoder)\.mid\.([012])\.",
                lambda match: f"{match[1]}.mid.{_MID[match[2]]}.",
                name,
            )
        return re.sub(r"^(encoder|decoder)\.((post_)?quant_conv)\.", r"\2.", name)

    return rename


def describe(path: Path) -> tuple[VQGANConfig, int]:
    """Give a file's sizes and number of parameters; no weights are read.

    Raises:
        CheckpointError: the file is absent, damaged or unsafe, or of no form that is known.
    """
    found = unwrapped(read_shapes(path), path)
    form = form_of(found, path)
    own = {renaming(found)(name): shape for name, shape in found.items()}
    config = _config(own, form, path)
    with torch.device("meta"):
        model = VQGAN(config)
    return config, sum(weight.numel() for weight in model.parameters())


def load(path: Path, *, ema: bool = True) -> VQGAN:
    """Load a released file, without running any code it may hold.

    Args:
        path: a torch or Lightning checkpoint, or a ``.safetensors`` file.
        ema: prefer moving averages to raw weights.

    Returns:
        The model on the CPU, in float32 and evaluation mode; see its ``report``.

    Raises:
        CheckpointError: as ``describe``, or the weights do not fit one another.
    """
    plain = unwrapped(read_shapes(path), path)
    form = form_of(plain, path)
    weights = Weights(path, renaming(plain))
    with torch.device("meta"):
        model = VQGAN(_config(weights.shapes, form, path))
    expected = shapes(model.state_dict())
    if unfit := weights.faults(expected, ema=ema):
        raise CheckpointError(f"{path}: nearest to {form.title} tokenizer, but {listing(unfit)}")
    model.report = weights.give(model, "inferred", "", ema=ema)
    return model.eval()


def _config(found: Shapes, form: Form, path: Path) -> VQGANConfig:
    """Read sizes off VQGAN's own names of a form's weights."""
    maskgit = form.title == "MaskGIT's"
    try:
        encoder = _levels(found, "encoder.down", found["encoder.conv_out.weight"][0])
        decoder = _levels(found, "decoder.up", found["decoder.conv_in.weight"][1])
        if form.search == "signs":
            channels = found["quant_conv.weight"][0]
            size = 2**channels
        else:
            size, channels = found[_TABLE]
        kernel = 0 if maskgit else found["quant_conv.weight"][2]
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{path}: nearest to {form.title} tokenizer, but its sizes cannot be told ({error})"
        ) from error
    if size < 2:
        raise CheckpointError(
            f"{path}: nearest to {form.title} tokenizer, but with a codebook of {size} entries"
        )
    return VQGANConfig(
        encoder=encoder,
        decoder=decoder,
        size=size,
        channels=channels,
        search=_depth_search(encoder, path) if form is _VQGAN else form.search,
        kernel=kernel,
        convolutions=numbered(found, "quantize.quant_resi.qresi_ls.{}.weight"),
        maskgit=maskgit,
    )


def _depth_search(encoder: Levels, path: Path) -> Search:
    """VQGAN's and IBQ's weights have the same names: all of IBQ's models are deeper."""
    searches: dict[tuple[int, ...], Search] = {(2,): "nearest", (4,): "inner"}
    depths = tuple(sorted(set(encoder.blocks)))
    if depths not in searches:
        raise CheckpointError(
            f"{path}: nearest to {_VQGAN.title} tokenizer, but with {encoder.blocks} residual "
            f"blocks by level it is neither: VQGAN has 2 in each, IBQ 4"
        )
    return searches[depths]


def _levels(found: Shapes, place: str, channels: int) -> Levels:
    count = numbered(found, f"{place}.{{}}.block.0.conv1.weight")
    side = place.partition(".")[0]
    blocks = [numbered(found, f"{place}.{i}.block.{{}}.conv1.weight") for i in range(count)]
    middle = numbered(found, f"{side}.mid.{{}}.conv1.weight")
    return Levels(
        widths=tuple(found[f"{place}.{i}.block.0.conv1.weight"][0] for i in range(count)),
        blocks=tuple(blocks),
        attention=tuple(f"{place}.{i}.attn.0.norm.weight" in found for i in range(count)),
        channels=channels,
        fused=f"{side}.mid.attn_1.qkv.weight" in found,
        middle=middle or 2,
    )
