"""BitDance: the class-to-image autoregressive model over binary tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from uniwetok.ar import checkpoint, inputs
from uniwetok.ar.config import BitDanceConfig
from uniwetok.ar.diffusion_head import DiffusionHead
from uniwetok.ar.layers import initialize
from uniwetok.ar.transformer import Transformer, to_tokens
from uniwetok.files import write_json
from uniwetok.publishing import Published
from uniwetok.tensors import CONFIG_FILE, WEIGHTS_FILE, CheckpointError, shapes, write_tensors
from uniwetok.tokenizer import checkpoint as files
from uniwetok.weights import LoadReport, Weights, listing


class BitDance(Transformer, Published):
    """Predicts an image's codes from its class, one token or patch of tokens after the other.

    A causal transformer gives a condition for each token, from which a diffusion head draws its
    bits; ``uniwetok.ar.sample`` does so. Calling the model gives its training loss. Names and
    shapes of the weights are those of the released code.

    Attributes:
        config: the sizes and objective it was built with.
        head: the diffusion head.
        report: what ``from_checkpoint`` loaded, else None.
    """

    def __init__(self, config: BitDanceConfig | None = None) -> None:
        super().__init__(config or BitDanceConfig())
        self.head = DiffusionHead(self.config)
        self.report: LoadReport | None = None
        initialize(self)
        self.head.net.initialize()

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the weights."""
        return self.norm.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.norm.weight.device

    def forward(
        self, codes: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Give the training loss of images.

        In training mode, bits of the input are flipped and labels dropped to the null class, as
        the configuration says; the bits to be predicted are not flipped.

        Args:
            codes: (batch, latent_channels, grid, grid) float32, +1 or -1.
            labels: (batch,) int64 class indices.
            generator: on the model's device; draws flips, dropped labels, times and noise, in this
                order. None draws globally.

        Returns:
            () float32, see ``DiffusionHead``; about 3 at the initial weights.

        Raises:
            TypeError: ``codes`` are not floating, or ``labels`` not int64.
            ValueError: a shape does not fit, or, in evaluation mode, a label is not a class.
        """
        # Of training data they were looked at before its first step.
        inputs.check_labels(labels, self.config, values=not self.training)
        inputs.check_codes(codes, labels, self.config)
        return self.objective(codes, labels, generator)

    def objective(
        self, codes: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Give the training loss without looking at the arguments' values; see ``forward``."""
        config = self.config
        target = to_tokens(codes, config)
        given = target
        if self.training:
            given = flip_bits(target, config.flip_rate, generator)
            labels = drop_labels(labels, config.classes, config.label_dropout, generator)
        condition = self.hidden_states(given.to(self.dtype), labels)
        # The rows of the head are steps, since the tokens of one share their diffusion time.
        condition = condition.reshape(-1, config.parallel_tokens, config.width)
        target = target.reshape(-1, config.parallel_tokens, config.latent_channels).float()
        repeats = (config.loss_repeats, 1, 1)
        loss: Tensor = self.head(target.repeat(repeats), condition.repeat(repeats), generator)
        return loss

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, config: BitDanceConfig | None = None, ema: bool = True
    ) -> Self:
        """Load weights from a file or folder, without running any code it may hold.

        Args:
            path: a released checkpoint, a plain torch state dict, a ``.safetensors`` file, or a
                folder from ``save_pretrained``. The tokenizer that released ones carry is ignored.
            config: the sizes. If None, they are read from the ``config.json`` beside a
                ``.safetensors`` file, or else inferred from the weights, which assumes heads of 64
                channels and the default training objective.
            ema: prefer the moving averages of a checkpoint to its raw weights.

        Returns:
            The model on the CPU, in float32 and evaluation mode; see its ``report``.

        Raises:
            CheckpointError: the file is absent, damaged, unsafe, or does not fit.
        """
        weights_path, config_path = checkpoint.locate(path)
        weights = Weights(weights_path)
        inferred = checkpoint.infer_config(weights.shapes)
        sizes, source = files.find_config(
            weights_path, config_path, checkpoint.read_config, inferred, config, "BitDance"
        )
        with torch.device("meta"):
            model = cls(sizes)
        unfit = checkpoint.faults(weights, shapes(model.state_dict()), ema=ema)
        if unfit:
            differences = inferred.differences(sizes) if inferred else {}
            changes = ", ".join(f"{name}={value}" for name, value in differences.items())
            hint = (
                f"Its sizes are of a configuration with {changes}"
                if changes
                else "The file is incomplete, or not a BitDance's"
            )
            raise CheckpointError(f"{weights_path}: {listing(unfit)}. {hint}")
        model.report = weights.give(model, source, f"heads={sizes.heads}", ema=ema)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``, as ``from_checkpoint`` reads them."""
        folder = Path(folder)
        write_tensors(folder / WEIGHTS_FILE, self.state_dict())
        write_json(folder / CONFIG_FILE, self.config.to_dict())


def flip_bits(bits: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
    """Negate each bit with a probability that is itself uniform in 0..rate (released code).

    Args:
        bits: any shape, +1 or -1.
        rate: in 0..1; half of it are flipped on average.
        generator: on the bits' device.
    """
    first = torch.rand(bits.shape, generator=generator, device=bits.device)
    second = torch.rand(bits.shape, generator=generator, device=bits.device)
    return torch.where(first < rate * second, -bits, bits)


def drop_labels(
    labels: Tensor, null: int, rate: float, generator: torch.Generator | None = None
) -> Tensor:
    """Replace each label by ``null`` with probability ``rate``."""
    drawn = torch.rand(labels.shape, generator=generator, device=labels.device)
    return torch.where(drawn < rate, null, labels)
