"""Autoencoders of diffusers as tokenizers: `diffusers-vae:REPO|FOLDER`.

What a class does is told by what it has, not by a list of names: a codebook, a distribution of
latents, frames, pixels in [0, 1].
"""

from __future__ import annotations

import functools
import inspect
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from harness.baselines.hub import DType, Source, library, named, source, versions
from harness.interfaces import Argument, Code
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.types import Codebook, Latents, ModelCard

if TYPE_CHECKING:
    from torch import Tensor

_PARTS = ("vae", "vqvae", "movq", "vqgan")
"""Where pipelines keep their autoencoder."""
_PROBE = 256


@dataclass(eq=False)
class DiffusersAutoencoder:
    """An autoencoder of diffusers, by the class that its configuration names.

    Continuous latents are stored in a dtype, whose bits are their rate. Sides that are no multiple
    of the model's factor are filled up at the right and the bottom by repeating the last pixels,
    and cut after decoding; all latents count.
    """

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
        kind = getattr(library("diffusers", "diffusers"), name, None) if name else None
        if not (isinstance(kind, type) and {"encode", "decode"} <= set(dir(kind))):
            raise UserError(
                f"{self.repository}: its configuration names {name or 'no class'}, which is no "
                f"autoencoder of the installed diffusers"
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
            dtype=self.dtype,
            source=self.repository,
            revision=self._source.revision,
            licence=self._source.licence,
        )

    @property
    def _latents(self) -> Latents | None:
        """What the configuration says of continuous latents."""
        names = ("latent_channels", "z_dim")
        channels = next((self._config[name] for name in names if name in self._config), None)
        if "num_vq_embeddings" in self._config or not isinstance(channels, int) or channels < 1:
            return None
        return Latents(channels=channels, dtype=self.store or self.dtype)

    @property
    def _title(self) -> str:
        name = self.repository.rstrip("/").rpartition("/")[2]
        return f"{name}/{self._part}" if self._part else name

    def load(self, device: str) -> None:
        """Build the network, and learn by what factor it divides sides."""
        import torch

        kind, folder = self._class, self._source.folder
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
        for name, weight in network.named_parameters():
            if not weight.isfinite().all():
                raise UserError(f"{self.repository}: weight {name} is not finite")
        self._network = network.eval().to(device)
        self._device = device
        self._video = any(isinstance(module, torch.nn.Conv3d) for module in network.modules())
        self._unit = "encoder_norm_mean" in self._config
        self._frames = "num_frames" in inspect.signature(network.decode).parameters
        probe = self._encoded(torch.zeros(1, 3, _PROBE, _PROBE))
        self._factor = max(1, _PROBE // probe.shape[-1])
        self._shape = tuple(probe.shape[1:-2])

    @property
    def _discrete(self) -> bool:
        return hasattr(self._network, "quantize") and self.card.codebook is not None

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1]."""
        from torch.nn.functional import pad

        height, width = images.shape[-2:]
        below, right = -height % self._factor, -width % self._factor
        latents = self._encoded(pad(images, (0, right, 0, below), mode="replicate"))
        grid = ((height + below) // self._factor, (width + right) // self._factor)
        if tuple(latents.shape[-2:]) != grid:
            raise ValueError(
                f"{self._class.__name__} makes {tuple(latents.shape[-2:])} latents of "
                f"{width}x{height} pixels, not {grid}: it cannot do this size"
            )
        if not latents.isfinite().all():
            raise ValueError("latents are not finite")
        if self._discrete:
            return self._symbols(latents, height, width)
        stored = latents.to(self._stored).cpu().contiguous()
        return [_packed(each, height, width) for each in stored]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32 (B, 3, H, W); nothing is drawn."""
        import torch

        del seeds
        height, width = codes[0].height, codes[0].width
        network = self._network
        images: Tensor
        with torch.no_grad():
            if self._discrete:
                images = network.decode(self._entries(codes), force_not_quantize=True).sample
            else:
                latents = torch.stack([_unpacked(code.payload, self._stored) for code in codes])
                images = self._decoded(latents.to(self._device, network.dtype))
        if self._video:
            images = images[:, :, 0]
        images = images.float()[..., :height, :width]
        if tuple(images.shape[-2:]) != (height, width):
            raise ValueError(f"decoded {tuple(images.shape[-2:])} pixels of {height, width}")
        return images * 2 - 1 if self._unit else images

    @property
    def _stored(self) -> Any:
        import torch

        return getattr(torch, self.store or self.dtype)

    def _encoded(self, images: Tensor) -> Tensor:
        """Latents (B, channels, [frames,] rows, columns) in the network's dtype."""
        import torch

        network = self._network
        pixels = (images + 1) / 2 if self._unit else images
        pixels = pixels.to(self._device, network.dtype)
        with torch.no_grad():
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
        return latents

    def _decoded(self, latents: Tensor) -> Tensor:
        more = {"num_frames": 1} if self._frames else {}
        images: Tensor = self._network.decode(latents, **more).sample
        return images

    def _symbols(self, latents: Tensor, height: int, width: int) -> list[Code]:
        import torch

        codebook = self.card.codebook
        assert codebook is not None
        with torch.no_grad():
            _, _, (_, _, indices) = self._network.quantize(latents)
        rows = indices.reshape(len(latents), -1, 1).cpu().numpy()
        return [Code.of_symbols(row, codebook, height, width) for row in rows]

    def _entries(self, codes: Sequence[Code]) -> Tensor:
        """Entries of the codebook (B, channels, rows, columns)."""
        import numpy as np
        import torch

        codebook = self.card.codebook
        assert codebook is not None
        symbols = np.stack([codebook.unpack(code.payload) for code in codes])
        rows, columns = (-(-side // self._factor) for side in (codes[0].height, codes[0].width))
        indices = torch.from_numpy(symbols).reshape(-1).to(self._device)
        entries: Tensor = self._network.quantize.get_codebook_entry(
            indices, shape=(len(codes), rows, columns, *self._shape)
        )
        return entries


def _packed(latents: Tensor, height: int, width: int) -> Code:
    """Latents behind their shape, which follows from the size and is no part of the rate."""
    import torch

    shape = struct.pack(f"<B{latents.ndim}I", latents.ndim, *latents.shape)
    values = latents.reshape(-1).view(torch.uint8).numpy().tobytes()
    return Code(shape + values, height, width, 8 * len(values))


def _unpacked(payload: bytes, dtype: Any) -> Tensor:
    import torch

    sides = payload[0]
    shape = struct.unpack_from(f"<{sides}I", payload, 1)
    values = torch.frombuffer(bytearray(payload[1 + 4 * sides :]), dtype=dtype)
    return values.reshape(shape)


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
