"""The unified multimodal model: a language model that reads and draws images as binary tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention.flex_attention import BlockMask
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPast

from uniwetok.ar.model import flip_bits
from uniwetok.mllm import checkpoint
from uniwetok.mllm.batch import MASKED, Batch, check_attention, fitted_mask, packed_mask
from uniwetok.mllm.config import MLLMConfig, MLLMError
from uniwetok.mllm.head import Projector, VisionHead, grid_embedding
from uniwetok.mllm.segments import add_special_tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class MLLMOutput:
    """What a batch gives at the places that predict."""

    text_logits: Tensor
    """(T, vocabulary), in the order of positions, row by row."""
    text_targets: Tensor
    """(T,) int64 token ids."""
    conditions: Tensor
    """(steps, parallel_tokens, width) of the diffusion head, with the places of what is drawn."""
    image_targets: Tensor
    """(steps, parallel_tokens, latent_channels) float32, +1 or -1."""


class MLLM(nn.Module):
    """A causal language model with a projector for image tokens and a diffusion head.

    Calling the model gives its training losses, so that distributed wrappers see the whole work.

    Args:
        language_model: any ``AutoModelForCausalLM`` that takes ``inputs_embeds`` and a
            four-dimensional mask, with a row in its table for every token of the text tokenizer.
        config: whose ``width`` is the language model's ``hidden_size``.

    Attributes:
        language_model: as given.
        projector: bits of an image token to an input of the language model.
        vision_head: draws the bits of image tokens from hidden states.
        config: as given.

    Raises:
        MLLMError: the widths differ, or the attention implementation takes no such mask.
    """

    def __init__(self, language_model: PreTrainedModel, config: MLLMConfig) -> None:
        super().__init__()
        width = language_model.config.get_text_config().hidden_size
        if width != config.width:
            raise MLLMError(
                f"the language model is {width} wide, the configuration says width={config.width}"
            )
        self._attention = str(language_model.config._attn_implementation)
        check_attention(self._attention)
        self.config = config
        self.language_model = language_model
        self.projector = Projector(config.latent_channels, config.width)
        self.vision_head = VisionHead(config)

    @classmethod
    def build(
        cls, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: MLLMConfig
    ) -> Self:
        """Make a multimodal model of a text model: adds special tokens and their embeddings.

        The projector and head start untrained. As in the released model, the table becomes as long
        as the tokenizer, which drops unused rows.
        """
        add_special_tokens(tokenizer, config)
        language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        return cls(language_model, config)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        attention: str = MASKED[0],
    ) -> Self:
        """Load a folder from ``save_pretrained`` or of the released format, without running code.

        Returns:
            The model on the CPU, in evaluation mode.

        Raises:
            CheckpointError: a part is missing, damaged, or does not fit the others.
            MLLMError: as the constructor.
        """
        folder = Path(folder)
        config = checkpoint.read_config(folder)
        language_model = checkpoint.load_language_model(folder, dtype, attention)
        with torch.device("meta"):
            model = cls(language_model, config)
        checkpoint.load_part(model.vision_head, folder / checkpoint.HEAD_WEIGHTS, dtype)
        checkpoint.load_part(model.projector, folder / checkpoint.PROJECTOR_WEIGHTS, dtype)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the language model's Hugging Face folder, the head, projector and configuration.

        The text tokenizer and the image tokenizer are not the model's: see ``Assistant``.
        """
        checkpoint.save(
            Path(folder),
            self.language_model,
            self.config,
            self.vision_head.state_dict(),
            self.projector.state_dict(),
        )

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the projector and head."""
        return self.projector.fc1.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.projector.fc1.weight.device

    @property
    def context(self) -> int:
        """Most positions of a sequence."""
        return int(self.language_model.config.get_text_config().max_position_embeddings)

    @property
    def output_layer(self) -> nn.Linear:
        """The language model's last layer, which scores the text tokens."""
        layer: nn.Linear = self.language_model.get_output_embeddings()  # type: ignore[no-untyped-call]
        return layer

    @property
    def table(self) -> nn.Embedding:
        """The language model's inputs of the text tokens."""
        table = self.language_model.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        return table

    def embed(self, batch: Batch, codes: Tensor | None = None) -> Tensor:
        """Give the language model's inputs, (rows, length, width).

        Args:
            batch: on the model's device.
            codes: instead of the batch's, such as flipped ones.
        """
        codes = batch.codes if codes is None else codes
        text: Tensor = self.table(batch.ids)
        images = self.embed_codes(codes, batch.code_grid).to(text.dtype)
        rows = text.flatten(0, 1).index_put((batch.code_index,), images)
        return rows.view_as(text)

    def embed_codes(self, codes: Tensor, grid: Tensor) -> Tensor:
        """Give the inputs of image tokens.

        Args:
            codes: (..., latent_channels), +1 or -1.
            grid: (..., 2) row and column.
        """
        projected: Tensor = self.projector(codes.to(self.dtype))
        return projected + grid_embedding(grid, self.config.width).to(projected.dtype)

    def run(
        self,
        inputs: Tensor,
        positions: Tensor,
        seen: Tensor | BlockMask | None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Give the language model's last hidden states, (rows, length, width).

        Args:
            inputs: (rows, length, width).
            positions: (rows, length) int64, within the samples.
            seen: (rows, 1, length, cached + length) bool; a block mask for flex_attention; None
                for plainly causal positions without padding.
            cache: earlier positions, to which these are added.

        Raises:
            MLLMError: a mask of another kind than the attention implementation takes.
        """
        output: BaseModelOutputWithPast = self.language_model.base_model(
            inputs_embeds=inputs,
            attention_mask=fitted_mask(seen, self._attention, inputs.dtype),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden = output.last_hidden_state
        assert hidden is not None
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Give the scores of the text tokens, (..., vocabulary)."""
        out: Tensor = self.output_layer(hidden)
        return out

    def conditions(self, hidden: Tensor, grid: Tensor) -> Tensor:
        """Give the diffusion head's conditions, like ``hidden``.

        Args:
            hidden: (..., width) of the positions that predict.
            grid: (..., 2) row and column of what each predicts.
        """
        return hidden + grid_embedding(grid, self.config.width).to(hidden.dtype)

    def outputs(self, batch: Batch, codes: Tensor | None = None) -> MLLMOutput:
        """Run a batch, with the true tokens before each prediction.

        Args:
            batch: on the model's device.
            codes: what is read instead of the batch's, such as flipped ones.
        """
        hidden = self.run(
            self.embed(batch, codes), batch.positions, packed_mask(batch, self._attention)
        )
        hidden = hidden.flatten(0, 1)
        step = self.config.parallel_tokens
        steps = len(batch.condition_index) // step
        grid = batch.code_grid[batch.generated]
        conditions = self.conditions(hidden[batch.condition_index], grid)
        bits = batch.codes[batch.generated].float()
        return MLLMOutput(
            text_logits=self.logits(hidden[batch.text_index]),
            text_targets=batch.text_targets.flatten()[batch.text_index],
            conditions=conditions.view(steps, step, conditions.shape[-1]),
            image_targets=bits.view(steps, step, bits.shape[-1]),
        )

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Give the losses of a batch.

        In training mode, bits of generated images are flipped where they are read, as the
        configuration says; the bits to be predicted are not.

        Args:
            batch: on the model's device.
            generator: on that device; draws flips, times and noise, in this order. None draws
                globally.

        Returns:
            ``text``: mean cross-entropy of the predicted tokens, () float32; ``vision``: mean
            loss of the generated image tokens, see ``DiffusionHead``; both 0 where there are none.
            ``total``: their weighted sum. ``text_tokens``, ``vision_tokens``: how many, () int64.
            ``text_losses``, ``vision_losses``: of each such token, in the order of positions, row
            by row, without gradient.
        """
        codes = batch.codes
        if self.training:
            flipped = flip_bits(codes[batch.generated], self.config.flip_rate, generator)
            codes = codes.index_put((batch.generated,), flipped)
        output = self.outputs(batch, codes)
        text_tokens, vision_tokens = output.text_targets.numel(), len(batch.condition_index)
        texts = F.cross_entropy(output.text_logits.float(), output.text_targets, reduction="none")
        repeats = (self.config.loss_repeats, 1, 1)
        tokens = self.vision_head.token_losses(
            output.image_targets.repeat(repeats), output.conditions.repeat(repeats), generator
        )
        # Sums, so that without tokens all weights still have gradients, of 0.
        text = texts.sum() / max(text_tokens, 1)
        vision = tokens.sum() / max(tokens.numel(), 1)
        return {
            "text": text,
            "vision": vision,
            "total": self.config.text_weight * text + vision,
            "text_tokens": torch.full((), text_tokens, device=text.device),
            "vision_tokens": torch.full((), vision_tokens, device=text.device),
            "text_losses": texts.detach(),
            "vision_losses": tokens.detach().view(self.config.loss_repeats, vision_tokens).mean(0),
        }
