"""What a run of the multimodal model will take, reckoned before it is started.

Parameters are counted; memory and work follow from sizes by the formulas below, are labelled as
estimates and were not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from uniwetok.mllm.config import LANGUAGE_MODELS
from uniwetok.mllm.model import MLLM
from uniwetok.train import TrainingError
from uniwetok.train.engine.plan import H100, UTILISATION, Gpu, Row, gib, sections_table
from uniwetok.train.engine.settings import check_parts
from uniwetok.train.engine.trainer import checkpoint_bytes
from uniwetok.train.mllm.config import MLLMTraining

if TYPE_CHECKING:
    from rich.table import Table
    from transformers import PretrainedConfig

_FLOAT, _HALF = 4, 2
_HOUR = 3600
_KNOWN = {"Qwen/Qwen3-8B": "qwen3-8b", "Qwen/Qwen3-14B": "bitdance-14b-16x"}
"""Language models whose sizes are known without their files."""
_SPOKEN = 0.5
"""Share of a row's positions that predict text where text is trained: an assumption."""
_LAYER_WIDTHS, _LAYER_INNER = 4, 4
"""Tensors that a layer's backward pass keeps: norms and residuals of the model's width; gate, its
activation, up and their product of the inner width. Queries, keys, values and their outcome come
on top."""
_BLOCK_WIDTHS = 17
"""Likewise of a block of the diffusion head, in its width, its SwiGLU's three halves included."""
_LOGIT_BYTES = 10
"""A logit in half precision, in float32 and its gradient in float32."""


@dataclass(frozen=True, kw_only=True)
class MLLMPlan:
    """A run's cost; memory and work are estimates from formulas."""

    world: int
    """Processes, one a GPU."""
    sharded: bool
    """Whether weights, gradients and optimiser state are shared out (FSDP)."""
    language_model: str
    parameters: dict[str, int]
    """Of every network."""
    rows_per_step: int
    row_tokens: int
    """Positions of a row, at most."""
    tokens: int
    """Of the whole run, at most."""
    predicted_text: float
    """Share of the positions that are assumed to predict text; the others predict images."""
    memory: dict[str, int]
    """Bytes on one GPU from step to step."""
    activations: dict[str, int]
    """Bytes on one GPU that a row keeps for its backward pass."""
    checkpoint: int
    """Bytes of a checkpoint on disk."""
    gpu: str
    gpu_memory: int
    flops: int
    """Of one step over all GPUs."""
    seconds_per_step: float
    basis: str
    """Where ``seconds_per_step`` comes from."""
    hours: float
    """Of the whole run."""

    @property
    def memory_total(self) -> int:
        """Bytes on one GPU, activations included."""
        return sum(self.memory.values()) + sum(self.activations.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and their totals, ready for JSON."""
        return {
            **vars(self),
            "memory_total_estimate": self.memory_total,
            "fits_estimate": self.memory_total <= self.gpu_memory,
            "gpu_hours": self.hours * self.world,
        }

    def table(self, title: str) -> Table:
        """Lay the plan out for a terminal."""
        kind = "FSDP" if self.sharded else "copies"
        heading = f"plan of {title} on {self.world} GPUs ({kind}), an estimate"
        return sections_table(heading, self._sections())

    def _sections(self) -> dict[str, list[Row]]:
        fits = self.memory_total <= self.gpu_memory
        remark = f"of {self.gpu}'s {gib(self.gpu_memory)}; kernels need some more"
        if not fits:
            remark = f"more than {self.gpu} has: raise --world, or lower data.row_tokens"
        return {
            f"parameters, {self.language_model}": [
                (name, f"{count / 1e6:,.1f} M", "") for name, count in self.parameters.items()
            ],
            "data": [
                ("rows a step", f"{self.rows_per_step:,}", ""),
                ("tokens a row", f"{self.row_tokens:,}", "at most"),
                ("tokens of the run", f"{self.tokens / 1e9:,.1f} B", "at most"),
                ("share that predicts text", f"{self.predicted_text:.0%}", "assumed"),
            ],
            "memory a GPU": [
                *((name, gib(size), "") for name, size in self.memory.items()),
                *((name, gib(size), "estimate") for name, size in self.activations.items()),
                ("together", gib(self.memory_total), remark),
            ],
            "disk": [("a checkpoint", gib(self.checkpoint), "two are kept")],
            "time": [
                ("a step", f"{self.seconds_per_step:,.3g} s", self.basis),
                ("the run", f"{self.hours:,.1f} h", "steps alone"),
                ("GPU hours", f"{self.hours * self.world:,.0f}", ""),
            ],
        }


def make_mllm_plan(
    config: MLLMTraining,
    world: int = 1,
    *,
    seconds_per_step: float | None = None,
    gpu: Gpu = H100,
    utilisation: float = UTILISATION,
) -> MLLMPlan:
    """Plan a run on codes that are there; encoding images is not reckoned.

    Args:
        config: the run.
        world: processes, one a GPU.
        seconds_per_step: as measured with this many GPUs; None reckons from the work.
        gpu: what is reckoned with.
        utilisation: share of its peak that is reached.

    Raises:
        TrainingError: the rows do not divide, or the language model's sizes are not known.
    """
    check_parts(config.batch_size, config.accumulation, world)
    sizes = _language_model(config)
    model = _build(sizes, config)
    parameters = _parameters(model)
    total = sum(parameters.values())
    spoken = _SPOKEN if _speaks(config) else 0.0
    activations = _activations(sizes, config, spoken)
    flops = _flops(parameters, sizes, config, spoken)
    basis = "as measured"
    if seconds_per_step is None:
        peak = gpu.single_flops if config.precision == "float32" else gpu.half_flops
        seconds_per_step = flops / (peak * utilisation * world)
        basis = f"assumes {utilisation:.0%} of {gpu.name}'s {peak / 1e12:g} TFLOP/s; not measured"
    return MLLMPlan(
        world=world,
        sharded=config.shard,
        language_model=config.init or config.language_model,
        parameters=parameters,
        rows_per_step=config.batch_size,
        row_tokens=config.data.row_tokens,
        tokens=config.data.row_tokens * config.batch_size * config.steps,
        predicted_text=spoken,
        memory=_memory(total, model, config, world),
        activations=activations,
        checkpoint=checkpoint_bytes(config, total),
        gpu=gpu.name,
        gpu_memory=gpu.memory,
        flops=flops,
        seconds_per_step=seconds_per_step,
        basis=basis,
        hours=seconds_per_step * config.steps / _HOUR,
    )


def _language_model(config: MLLMTraining) -> PretrainedConfig:
    """Read the language model's sizes, without its weights."""
    from transformers import AutoConfig, Qwen3Config

    if config.init is None and config.language_model in _KNOWN:
        known: PretrainedConfig = Qwen3Config(**LANGUAGE_MODELS[_KNOWN[config.language_model]])
        return known
    folder = Path(config.init or config.language_model).expanduser()
    try:
        read: PretrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"--language-model {folder}: its sizes cannot be read without its config.json; give a "
            f"folder, or one of {', '.join(_KNOWN)}"
        ) from error
    return read


def _build(sizes: PretrainedConfig, config: MLLMTraining) -> MLLM:
    from transformers import AutoModelForCausalLM

    if sizes.hidden_size != config.model.width:
        raise TrainingError(
            f"this language model is {sizes.hidden_size} wide, the settings say model.width="
            f"{config.model.width}; --set model.width={sizes.hidden_size}"
        )
    models: Any = AutoModelForCausalLM  # Its methods have no types.
    with torch.device("meta"):
        return MLLM(models.from_config(sizes, attn_implementation="sdpa"), config.model)


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
        "projector": _count(model.projector),
        "diffusion head": _count(model.vision_head),
    }


def _memory(total: int, model: MLLM, config: MLLMTraining, world: int) -> dict[str, int]:
    """What lies on a GPU from step to step, and the largest unit while it is gathered."""
    shards = world if config.shard else 1
    memory = {
        "weights": _FLOAT * total // shards,
        "gradients": _FLOAT * total // shards,
        "Adam": 2 * _FLOAT * total // shards,
    }
    if config.ema_decay:
        memory["moving average"] = _FLOAT * total // shards
    if shards > 1:
        table = _count(model.language_model.get_input_embeddings())
        memory["largest gathered weights and gradients"] = 2 * _FLOAT * table
    elif world > 1:
        memory["gradients in transit"] = _FLOAT * total
    return memory


def _activations(sizes: PretrainedConfig, config: MLLMTraining, spoken: float) -> dict[str, int]:
    """What one row keeps: a formula over the sizes, see this module's constants."""
    tokens = config.data.row_tokens
    size = _FLOAT if config.precision == "float32" else _HALF
    width, layers = sizes.hidden_size, sizes.num_hidden_layers
    head = getattr(sizes, "head_dim", None) or width // sizes.num_attention_heads
    keys = getattr(sizes, "num_key_value_heads", None) or sizes.num_attention_heads
    heads = 2 * head * (sizes.num_attention_heads + keys)
    layer = size * tokens * (_LAYER_WIDTHS * width + _LAYER_INNER * sizes.intermediate_size + heads)
    inputs = size * tokens * width
    drawn = int((1 - spoken) * tokens) * config.model.loss_repeats
    of_head = (
        size
        * config.model.diffusion_width
        * (
            _BLOCK_WIDTHS * config.model.diffusion_blocks
            + 6 * config.model.diffusion_modulations
            + 4
        )
    )
    kept = {"inputs of all layers": layers * inputs, "one layer, run again": layer}
    if not config.gradient_checkpointing:
        kept = {"all layers": layers * layer}
    return {
        **kept,
        "embeddings and last state": 4 * inputs,
        "diffusion head": drawn * of_head,
        "text logits": int(spoken * tokens) * sizes.vocab_size * _LOGIT_BYTES,
    }


def _flops(
    parameters: dict[str, int], sizes: PretrainedConfig, config: MLLMTraining, spoken: float
) -> int:
    """Two a weight and token forward, twice that backward, and forward again where checkpointed.

    Attention among positions is left out: it depends on the samples' lengths.
    """
    tokens = config.data.row_tokens * config.batch_size
    passes = 8 if config.gradient_checkpointing else 6
    table = sizes.vocab_size * sizes.hidden_size
    drawn = (1 - spoken) * config.model.loss_repeats
    return int(
        tokens
        * (
            passes * parameters["language model's layers"]
            + 6 * (spoken * table + parameters["projector"] + drawn * parameters["diffusion head"])
        )
    )


def _speaks(config: MLLMTraining) -> bool:
    """Whether text is predicted at all: else rows are images and what they are drawn from."""
    return bool({"chat", "interleaved"} & set(config.data.kinds)) or config.data.describe_share > 0


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
