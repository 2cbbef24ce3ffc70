"""Autoencoders of diffusers as tokenizers: `diffusers-vae:REPO|FOLDER`.

What a class does is told by what it has, not by a list of names: a codebook, a distribution of
latents, frames, pixels in [0, 1].
"""

from __future__ import annotations

import functools
import inspect
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from harness.baselines.hub import (
    DType,
    Source,
    check_weights,
    named,
    no_bars,
    source,
    versions,
)
from harness.baselines.latents import LatentTokenizer
from harness.interfaces import Argument
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.extras import library
from harness.interfaces.types import IMAGE_SIDE, Codebook, Latents, ModelCard

if TYPE_CHECKING:
    from torch import Tensor

_PARTS = ("vae", "vqvae", "movq", "vqgan")
"""Where pipelines keep their autoencoder."""
_HALVING = {
    "AutoencoderKL": "block_out_channels",
    "AutoencoderKLTemporalDecoder": "block_out_channels",
    "VQModel": "block_out_channels",
    "AutoencoderTiny": "encoder_block_out_channels",
    "AutoencoderDC": "encoder_block_out_channels",
}
"""Classes whose sides are halved between the blocks of a list; of others a run tells the factor."""


@dataclass(eq=False)
class DiffusersAutoencoder(LatentTokenizer):
    """An autoencoder of diffusers, by the class that its configuration names."""

    repository: Annotated[str, Argument, "A folder, or OWNER/NAME on the hub."]
    revision: Annotated[str | None, "Branch, tag or commit of the repository."] = None
    part: Annotated[str | None, "Subfolder; by itself the autoencoder of a pipeline."] = None
    dtype: Annotated[DType, "Precision of the network."] = "float32"
    latents: Annotated[
        Literal["mode", "sample"],
        "The distribution's mode, or a sample by a generator that the picture's pixels seed.",
    ] = "mode"
    store: Annotated[DType | None, "Dtype of stored latents; the network's by itself."] = None

    @functools.cached_property
    def _source(self) -> Source:
        return source(self.repository, self.revision)

    @functools.cached_property
    def _part(self) -> str:
        """Subfolder of the configuration, '' for the folder itself."""
        if self.part is not None:
            return self.part
        folder = self._source.folder
        found = [part for part in _PARTS if (folder / part / "config.json").is_file()]
        if (folder / "config.json").is_file() or not found:
            return ""
        return found[0]

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        return self._source.json(f"{self._part}/config.json" if self._part else "config.json")

    @functools.cached_property
    def _class(self) -> type:
        name = self._config.get("_class_name")
        kind = getattr(library("diffusers"), name, None) if name else None
        if not (isinstance(kind, type) and {"encode", "decode"} <= set(dir(kind))):
            raise UserError(
                f"{self.repository}: its configuration names {name or 'no class'}, which is no "
                f"autoencoder of the installed diffusers"
            )
        if self._config.get("regularizer") == "fsq":
            raise UserError(
                f"{self.repository}: {name} with finite scalar quantization is not measured here: "
                f"what diffusers encodes to are its entries, without their numbers"
            )
        return kind

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the files, the class, the options and the versions of the libraries."""
        kind, parts = self._class.__name__, [self._part] if self._part else []
        size = self._config.get("num_vq_embeddings")
        options = {"dtype": self.dtype, "latents": self.latents, "store": self.store}
        usual = {"dtype": "float32", "latents": "mode", "store": None}
        return ModelCard(
            name="diffusers-vae",
            label=f"{self._title}{named(options, usual)}",
            config={
                "class": kind,
                "options": options,
                "revision": self._source.revision,
                "libraries": versions("diffusers"),
            },
            weights_sha256=self._source.digest(*parts),
            parameters=self._source.parameters(*parts),
            codebook=Codebook(size=size) if isinstance(size, int) and size > 1 else None,
            latents=self._latents,
            tokens=self._tokens,
            dtype=self.dtype,
            source=self.repository,
            revision=self._source.revision,
            licence=self._source.licence,
        )

    @property
    def _latents(self) -> Latents | None:
        """Channels and stored dtype of continuous latents; None of a codebook, or where unknown."""
        names = ("latent_channels", "z_dim")
        channels = next((self._config[name] for name in names if name in self._config), None)
        if "num_vq_embeddings" in self._config or not isinstance(channels, int) or channels < 1:
            return None
        return Latents(channels=channels, dtype=self.store or self.dtype)

    @property
    def _tokens(self) -> int | None:
        """Places of latents of a 256x256 image; None where the configuration does not tell."""
        blocks = self._config.get(_HALVING.get(self._class.__name__, ""))
        if not isinstance(blocks, list) or not blocks:
            return None
        return int(-(-IMAGE_SIDE // 2 ** (len(blocks) - 1))) ** 2

    @property
    def _title(self) -> str:
        name = self._source.title
        return f"{name}/{self._part}" if self._part else name

    def load(self, device: str) -> None:
        """Build the network, and learn by what factor it divides sides."""
        import torch

        kind, folder = self._class, self._source.folder
        no_bars()
        try:
            network = kind.from_pretrained(  # type: ignore[attr-defined]
                folder,
                subfolder=self._part or None,
                dtype=getattr(torch, self.dtype),
                local_files_only=True,
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                f"{self.repository}: {kind.__name__} cannot be loaded ({first_line(error)})"
            ) from error
        check_weights(network, self.repository)
        self._network = network.eval().to(device)
        self._device = device
        # SVD's decoder mixes frames, its encoder takes pictures.
        encoder = getattr(network, "encoder", network)
        self._video = any(isinstance(module, torch.nn.Conv3d) for module in encoder.modules())
        self._unit = "encoder_norm_mean" in self._config
        self._frames = "num_frames" in inspect.signature(network.decode).parameters
        self._learn_factor()

    @property
    def _stored(self) -> str:
        return self.store or self.dtype

    def _latents_of(self, images: Tensor) -> Tensor:
        network = self._network
        pixels = (images + 1) / 2 if self._unit else images
        pixels = pixels.to(self._device, network.dtype)
        found: Any = network.encode(pixels[:, :, None] if self._video else pixels)
        if hasattr(found, "latent_dist"):
            if self.latents == "mode":
                return found.latent_dist.mode()  # type: ignore[no-any-return]
            return _sampled(found.latent_dist, images)
        if self.latents == "sample":
            raise UserError(
                f"{self.repository}: {self._class.__name__} has no distribution to sample from; "
                f"leave out latents=sample"
            )
        latents: Tensor = found.latents if hasattr(found, "latents") else found.latent
        if self.card.codebook is None:
            return latents
        self._channels = latents.shape[1]
        _, _, (_, _, symbols) = network.quantize(latents)
        grid: Tensor = symbols.reshape(len(latents), *latents.shape[-2:])
        return grid

    def _images_of(self, latents: Tensor) -> Tensor:
        network = self._network
        images: Tensor
        if self.card.codebook is not None:
            entries = network.quantize.get_codebook_entry(
                latents.reshape(-1).to(self._device), shape=(*latents.shape, self._channels)
            )
            images = network.decode(entries, force_not_quantize=True).sample
        else:
            more = {"num_frames": 1} if self._frames else {}
            images = network.decode(latents.to(self._device, network.dtype), **more).sample
        images = images[:, :, 0] if self._video else images
        return images * 2 - 1 if self._unit else images


def _sampled(distribution: Any, images: Tensor) -> Tensor:
    """A sample of each image's latents, the same whatever stands beside it in a batch."""
    import torch

    mean, deviation = distribution.mean, distribution.std
    drawn = []
    for image, one in zip(images, mean, strict=True):
        seed = zlib.crc32(image.float().cpu().contiguous().numpy().tobytes())
        noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(seed))
        drawn.append(noise.to(one))
    sample: Tensor = mean + deviation * torch.stack(drawn)
    return sample
