"""What a run of the multimodal model takes, before it is started.

A row is run as samples of equal length, whose positions see no other sample's. All layers are
alike: what one takes is the difference between models of two layers and of one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, PretrainedConfig, Qwen3Config

from uniwetok.mllm.config import LANGUAGE_MODELS
from uniwetok.mllm.model import MLLM
from uniwetok.train import TrainingError
from uniwetok.train.engine.footprint import (
    Footprint,
    count,
    count_gathered,
    kept_bytes,
    step_flops,
    without_data,
)
from uniwetok.train.engine.state import run_again
from uniwetok.train.mllm.config import MLLMTraining
from uniwetok.train.mllm.parts import read_sizes
from uniwetok.train.mllm.trainer import units

_KNOWN = {"Qwen/Qwen3-8B": "qwen3-8b", "Qwen/Qwen3-14B": "bitdance-14b-16x"}
"""Language models whose sizes are known without their files."""
_SPOKEN = 0.5
"""Share of a row's positions that predict text where text is trained: an assumption."""
_FLOAT, _HALF = 4, 2


@dataclass(frozen=True)
class _Layout:
    """What a row's positions do."""

    samples: int
    length: int
    """Positions of a sample."""
    spoken: int
    """Positions of the row that predict text."""
    drawn: int
    """Image tokens of the row that are predicted."""


def measure(config: MLLMTraining) -> Footprint:
    """Build and run a configuration's model on one row, with images' codes that are there.

    Raises:
        TrainingError: the language model's sizes are not known, or do not fit.
    """
    sizes = _language_model(config)
    layers = sizes.num_hidden_layers
    whole = _build(sizes, config, layers, "meta")
    parameters = _parameters(whole)
    total = sum(parameters.values())
    layout = _layout(config)
    with without_data():
        (forward, backward), (more, more_back) = (_flops(sizes, config, n, layout) for n in (1, 2))
        flops = {
            "forward": forward + (layers - 1) * (more - forward),
            "backward": backward + (layers - 1) * (more_back - backward),
        }
        if config.gradient_checkpointing:
            flops["layers, run again"] = layers * (more - forward)
        activations = _activations(sizes, config, layout)
    return Footprint(
        parameters=parameters,
        held={"model": total},
        trained={"model": total},
        averaged=total,
        gathered=count_gathered(whole, units(whole)),
        tokens=config.data.row_tokens,
        flops=flops,
        activations=activations,
        packed=True,
        mixture=config.data.mixture,
        assumed=f"estimate: assumes samples of {layout.length:,} tokens, of which "
        f"{layout.spoken / config.data.row_tokens:.0%} predict text",
    )


def _layout(config: MLLMTraining) -> _Layout:
    """Assume samples of one image of the largest area, with as much text where text is trained."""
    kinds, data = set(config.data.kinds), config.data
    speaks = bool({"chat", "interleaved"} & kinds) or data.describe_share > 0
    image = data.image_area // config.model.downsample**2
    length = min(data.row_tokens, int(image / (1 - _SPOKEN)) if speaks else image)
    samples = max(1, data.row_tokens // length)
    spoken = int(_SPOKEN * length) if speaks else 0
    # Whole steps of the diffusion head; images of conversations are read, not drawn.
    drawn = 0 if kinds == {"chat"} else (length - spoken) // config.model.parallel_tokens
    return _Layout(
        samples, length, samples * spoken, samples * drawn * config.model.parallel_tokens
    )


def _language_model(config: MLLMTraining) -> PretrainedConfig:
    """Read the language model's sizes, without its weights."""
    if config.init is None and config.language_model in _KNOWN:
        return Qwen3Config(**LANGUAGE_MODELS[_KNOWN[config.language_model]])
    place = config.init or config.language_model
    given = "--language-model " if config.init is None else "init="
    return read_sizes(Path(place).expanduser(), f"{given}{place}")


def _build(sizes: PretrainedConfig, config: MLLMTraining, layers: int, device: str) -> MLLM:
    if sizes.hidden_size != config.model.width:
        raise TrainingError(
            f"this language model is {sizes.hidden_size} wide, the settings say model.width="
            f"{config.model.width}; --set model.width={sizes.hidden_size}"
        )
    cut = copy.deepcopy(sizes)
    cut.num_hidden_layers = layers
    if getattr(cut, "layer_types", None):
        cut.layer_types = cut.layer_types[:layers]
    models: Any = AutoModelForCausalLM  # Its methods have no types.
    with torch.device(device):
        model = MLLM(models.from_config(cut, attn_implementation="sdpa"), config.model)
    if config.gradient_checkpointing:
        # Only the head's: what the layers take is known from two of them and one.
        run_again(model.vision_head.net.res_blocks)
    return model


def _parameters(model: MLLM) -> dict[str, int]:
    language_model: Any = model.language_model
    tables = {
        id(table.weight)
        for table in (
            language_model.get_input_embeddings(),
            language_model.get_output_embeddings(),
        )
    }
    weights = list(model.language_model.parameters())
    of_tables = sum(weight.numel() for weight in weights if id(weight) in tables)
    return {
        "language model's layers": sum(weight.numel() for weight in weights) - of_tables,
        "language model's tables": of_tables,
        "projector": count(model.projector),
        "diffusion head": count(model.vision_head),
    }


def _pass(model: MLLM, layout: _Layout, device: str) -> Tensor:
    """Give the sum of a row's losses; as `MLLM.forward`, but which position does what is known."""
    config, positions = model.config, layout.samples * layout.length
    with torch.device(device):
        ids = torch.zeros(positions, dtype=torch.int64)
        images = positions - layout.spoken
        codes = torch.ones(images, config.latent_channels)
        grid = torch.zeros(images, 2, dtype=torch.int64)
        text = model.table(ids)
        rows = text.index_put(
            (torch.arange(images),), model.embed_codes(codes, grid).to(text.dtype)
        )
        # Samples side by side see only themselves, as the masks of packed rows have it.
        hidden = model.language_model.base_model(
            inputs_embeds=rows.view(layout.samples, layout.length, config.width), use_cache=False
        ).last_hidden_state.flatten(0, 1)
        losses = [hidden.sum()]
        if layout.spoken:
            logits = model.logits(hidden[: layout.spoken]).float()
            losses.append(F.cross_entropy(logits, ids[: layout.spoken]))
        if layout.drawn:
            shape = (layout.drawn // config.parallel_tokens, config.parallel_tokens, -1)
            repeats = (config.loss_repeats, 1, 1)
            conditions = model.conditions(hidden[: layout.drawn], grid[: layout.drawn])
            targets = codes[: layout.drawn].view(shape).repeat(repeats)
            losses.append(
                model.vision_head.token_losses(
                    targets, conditions.view(shape).repeat(repeats)
                ).sum()
            )
        return torch.stack(losses).sum()


def _flops(
    sizes: PretrainedConfig, config: MLLMTraining, layers: int, layout: _Layout
) -> tuple[int, int]:
    model = _build(sizes, config, layers, "cpu")
    return step_flops(lambda: _pass(model, layout, "cpu"))


def _activations(sizes: PretrainedConfig, config: MLLMTraining, layout: _Layout) -> dict[str, int]:
    """Bytes that one row keeps, by the part that keeps them."""

    def kept(layers: int, spoken: int, drawn: int) -> int:
        model = _build(sizes, config, layers, "cuda")
        part = _Layout(layout.samples, layout.length, spoken, drawn)
        return kept_bytes([model], config.precision, lambda: _pass(model, part, "cuda"))

    bare, spoken = kept(1, 0, 0), kept(1, layout.spoken, 0)
    layer = kept(2, 0, 0) - bare
    size = _FLOAT if config.precision == "float32" else _HALF
    layers = sizes.num_hidden_layers
    inputs = size * layout.samples * layout.length * config.model.width
    # Backward begins with the logits' gradients, in float32 and in the precision of the pass.
    gradients = layout.spoken * sizes.vocab_size * (_FLOAT + size)
    head = kept(1, 0, layout.drawn) - bare
    logits = spoken - bare + gradients if layout.spoken else 0
    # Head and logits are gone when the first layer is run again.
    beyond = max(0, layer - head - logits)
    return {
        **(
            {
                "inputs of all layers": layers * inputs,
                "one layer, run again, beyond head and logits": beyond,
            }
            if config.gradient_checkpointing
            else {"all layers": layers * layer}
        ),
        "embeddings and last state": bare - layer,
        "diffusion head": head,
        "text logits": logits,
    }
