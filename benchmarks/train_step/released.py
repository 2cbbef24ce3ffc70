"""The released modules, imported from checkouts, and the step that they make together."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import TokenizerLossConfig
from uniwetok.randomness import stream
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.tokenizer.config import TokenizerTraining


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout_p: float) -> Tensor:
    """Stand in for flash_attn's function, which has no CPU build: (batch, tokens, heads, size)."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(
        query, key, value, is_causal=causal, dropout_p=dropout_p
    )
    return attended.transpose(1, 2).contiguous()


class ReleasedStep:
    """The networks, optimisers and averages of a released training run, and its step.

    ``loss`` is WeTok's, which computes LPIPS in the discriminator's half of the step again and lets
    gradients flow to the discriminator's weights in the tokenizer's half.
    """

    def __init__(
        self,
        config: TokenizerTraining,
        bitdance: Path,
        wetok: Path,
        checkpoint: Path,
        discriminator: Path,
        vgg16: Path,
    ) -> None:
        """Build the networks.

        Args:
            config: the run.
            bitdance: checkout of the autoencoder.
            wetok: checkout of quantizer and losses.
            checkpoint: the autoencoder's first weights, as it reads them.
            discriminator: file of its first weights; read where the run has one.
            vgg16: file of VGG16's weights for LPIPS.
        """
        self.config = config
        with _imports(bitdance, wetok):
            autoencoder = importlib.import_module("modeling.vision_encoder.autoencoder_uni")
            quantizer = importlib.import_module("src.WeTok.modules.vqvae.lookup_free_quantize")
            losses = importlib.import_module("src.WeTok.modules.losses.vqperceptual")
            averages = importlib.import_module("src.WeTok.modules.ema")
        model, optimizer = config.model, config.optimizer
        with contextlib.redirect_stdout(None):
            self.autoencoder = autoencoder.VQModel(model.to_released(), str(checkpoint))
            with _vgg16(vgg16), contextlib.chdir(wetok):
                self.loss = losses.VQLPIPSWithDiscriminator(**_loss_arguments(config.loss))
        self.quantize = _quantizer(quantizer, model)
        self.adversarial = config.loss.adversarial is not None
        self.adam, self.discriminator_adam = (
            torch.optim.Adam(weights, lr=optimizer.learning_rate, betas=optimizer.betas)
            for weights in (
                self.autoencoder.parameters(),
                self.loss.discriminator.parameters(),
            )
        )
        parts = {"encoder": self.autoencoder.encoder, "decoder": self.autoencoder.decoder}
        if self.adversarial:
            self.loss.discriminator.load_state_dict(torch.load(discriminator, weights_only=True))
            parts["discriminator"] = self.loss.discriminator
        self._averaged = nn.ModuleDict(parts)
        self.ema = averages.LitEma(self._averaged, config.ema_decay)

    def step(self, images: Tensor, number: int, mark: Callable[[], None]) -> dict[str, float]:
        """Train on a batch, with the noise that our step of this number draws.

        Args:
            images: (batch, 3, H, W) in [-1, 1].
            number: of the step, from 0.
            mark: called before and after the discriminator's half.

        Returns:
            The losses by our names.
        """
        latents = self.autoencoder.encoder(images)
        (codes, entropy, _), breakdown = self.quantize(latents, return_loss_breakdown=True)
        # Drawn here, since the decoder's own draw follows the layout of the codes in memory.
        noise = torch.randn(
            codes.shape, generator=stream(self.config.seed, "step", number, 0, 0, "noise")
        )
        with mock.patch.object(torch, "randn_like", return_value=noise):
            reconstruction = self.autoencoder.decoder(codes)
        if self.adversarial:
            arguments = (entropy, breakdown, images, reconstruction)
            loss, _ = self.loss(*arguments, 0, number)
        else:
            loss = self._without_adversarial(images, reconstruction, entropy, breakdown)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        losses = {"loss": loss.item()}
        if self.adversarial:
            mark()
            loss, _ = self.loss(*arguments, 1, number)
            self.discriminator_adam.zero_grad()
            loss.backward()
            self.discriminator_adam.step()
            losses["discriminator"] = loss.item()
            mark()
        self.ema(self._averaged)
        return losses

    def _without_adversarial(
        self, images: Tensor, reconstruction: Tensor, entropy: Tensor, breakdown: Any
    ) -> Tensor:
        """Compose the loss without the discriminator, which the released one always runs."""
        pixels = torch.abs(images - reconstruction)
        if self.loss.perceptual_weight:
            lpips = self.loss.perceptual_loss(images, reconstruction)
            pixels = pixels + self.loss.perceptual_weight * lpips
        commitment = self.loss.commit_weight * breakdown.commitment
        total: Tensor = pixels.mean() + self.loss.codebook_weight * entropy + commitment
        return total


def _loss_arguments(loss: TokenizerLossConfig) -> dict[str, Any]:
    """Translate the weights of our loss; without an adversarial term these two are not used."""
    adversarial = loss.adversarial
    return {
        "disc_start": 0,
        "codebook_enlarge_ratio": 0,
        "perceptual_weight": loss.lpips_weight,
        "codebook_weight": loss.entropy.weight,
        "commit_weight": loss.commitment_weight,
        "gen_loss_weight": adversarial.generator_weight if adversarial else 0.0,
        "lecam_loss_weight": adversarial.lecam_weight if adversarial else None,
    }


def _quantizer(module: types.ModuleType, model: UniWeTokConfig) -> nn.Module:
    quantizer: nn.Module = module.LFQ(
        dim=model.latent_channels,
        codebook_size=2**model.bits_per_group,
        num_codebooks=model.groups,
    )
    return quantizer


@contextlib.contextmanager
def _imports(bitdance: Path, wetok: Path) -> Iterator[None]:
    """Let both checkouts be imported from, beside stand-ins for what they need and we lack."""
    attention: Any = types.ModuleType("flash_attn")
    attention.flash_attn_func = attend
    files: Any = types.ModuleType("utils.fs")
    files.download = lambda path: path
    stand_ins = {"flash_attn": attention, "utils": types.ModuleType("utils"), "utils.fs": files}
    with (
        mock.patch.object(sys, "path", [str(bitdance), str(wetok), *sys.path]),
        mock.patch.dict(sys.modules, stand_ins),
    ):
        yield


@contextlib.contextmanager
def _vgg16(weights: Path) -> Iterator[None]:
    """Give the released LPIPS a trunk with these weights instead of a download."""
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    trunk = nn.ModuleDict({"features": layers})
    trunk.load_state_dict(torch.load(weights, weights_only=True))
    with mock.patch.object(torchvision.models, "vgg16", return_value=trunk):
        yield
