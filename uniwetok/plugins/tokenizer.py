"""The tokenizer as the harness sees it, and what the models' plug-ins share."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from harness.baselines.hub import licence_in
from harness.data.digests import weights_sha256
from harness.interfaces import Argument, Code
from harness.interfaces.errors import UserError, warn
from harness.interfaces.types import IMAGE_SIDE, Codebook, ModelCard, digest_of
from uniwetok.nano import WEIGHTS
from uniwetok.plugins.kinds import kind_errors
from uniwetok.plugins.places import InPlace, Placed, Revision

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from uniwetok.losses.distillation import PrePostDistillation
    from uniwetok.losses.heads import HeadsCard
    from uniwetok.tokenizer import UniWeTok, UniWeTokConfig
    from uniwetok.tokenizer.config import Architecture
    from uniwetok.weights import LoadReport

DType = Annotated[Literal["float32", "bfloat16"], "Precision of all networks."]
Averaged = Annotated[bool, "Take averaged weights where a checkpoint has them, else the raw ones."]


def packed(codes: Tensor, height: int, width: int) -> list[Code]:
    """Codes (batch, bits, rows, columns) of images of this size; each bit counts, no padding."""
    from uniwetok.tokenizer import quantizer

    bits = math.prod(codes.shape[1:])
    return [Code(payload, height, width, bits) for payload in quantizer.pack(codes)]


class DecoderPlugin:
    """A network in memory that decodes, as the harness sees it.

    Args:
        network: In evaluation mode, on its device, in the precision it is to work in; a GPU is told
            of its encoder and decoder at once from now on, see `UniWeTok.record`.
    """

    concurrent = True

    def __init__(self, network: UniWeTok) -> None:
        self._network = network.record()

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode codes of one size to float32 (B, 3, H, W); the decoder's noise is the seeds'."""
        import torch

        network = self._network
        height, width = codes[0].height, codes[0].width
        grid = network.config.grid(height, width)
        signs = network.unpack([code.payload for code in codes], grid)
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        return network.decode(signs, generator=noise, size=(height, width)).float()


class TokenizerPlugin(DecoderPlugin):
    """A network in memory, as the harness's `VisualTokenizer` sees it; see `DecoderPlugin`."""

    @property
    def image_device(self) -> torch.device:
        """Where `encode` wants its images: at the network."""
        return self._network.device

    def encode(self, images: Tensor) -> list[Code]:
        """Encode float32 images (B, 3, H, W) in [-1, 1]: 16 bytes for each 32x32 pixels."""
        network = self._network
        codes = network.encode(images.to(network.device, network.dtype))
        return packed(codes, images.shape[2], images.shape[3])


@dataclass(eq=False)
class UniWeTokPlugin(Placed, TokenizerPlugin):
    """The UniWeTok tokenizer from a checkpoint.

    Where the distillation's heads lie beside the weights, it embeds images too.
    """

    path: Annotated[
        Path,
        Argument,
        "A Lightning checkpoint, a .safetensors file, a folder with one, or a repository of the "
        "hub.",
    ]
    dtype: DType = "float32"
    ema: Averaged = True
    file: InPlace = None
    revision: Revision = None

    _name: ClassVar[str] = "uniwetok"
    _architecture: ClassVar[Architecture] = "uniwetok"

    @functools.cached_property
    def _described(self) -> tuple[UniWeTokConfig, int]:
        from uniwetok.tensors import CheckpointError
        from uniwetok.tokenizer import checkpoint

        with kind_errors(self._name, self._weights):
            config, parameters = checkpoint.describe(self._weights)
            if config.architecture != self._architecture:
                raise CheckpointError(
                    f"{self._weights}: is of {config.architecture}'s architecture"
                )
        return config, parameters

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from the files' bytes and the sizes they were read with."""
        from uniwetok.tensors import files_of
        from uniwetok.tokenizer import checkpoint

        config, parameters = self._described
        files = [*files_of(*checkpoint.locate(self._weights)), *self._head_files]
        return model_card(
            self._name,
            label(self._title, {"dtype": self.dtype, "ema": self.ema}),
            {**config.to_dict(), "dtype": self.dtype, "ema": self.ema, **self._origin},
            files,
            parameters,
            config,
        )

    @property
    def loaded(self) -> str:
        """Which of the file's weights were taken, once they are."""
        return str(self._network.report)

    @property
    def _title(self) -> str:
        # A folder of the hub's cache has the name of a commit.
        named = self.file is not None and Path(self.file).stem != "model"
        return title(self._name, self._weights if named else self.path)

    @property
    def _folder(self) -> Path:
        return self._weights if self._weights.is_dir() else self._weights.parent

    @property
    def _head_files(self) -> list[Path]:
        from uniwetok.tensors import HEADS_CARD_FILE, HEADS_FILE

        files = [self._folder / name for name in (HEADS_FILE, HEADS_CARD_FILE)]
        return files if all(path.is_file() for path in files) else []

    @functools.cached_property
    def _heads(self) -> tuple[PrePostDistillation, HeadsCard]:
        from uniwetok.losses.heads import load_heads

        with user_errors(f"model {self._name!r}"):
            heads, card = load_heads(self._folder)
        if card.channels != (channels := self._described[0].latent_channels):
            raise UserError(
                f"model {self._name!r}: the heads in {self._folder} take tokens of {card.channels} "
                f"bits, the tokenizer's have {channels}: fetch both again from one place"
            )
        return heads, card

    def load(self, device: str) -> None:
        """Build the network and move it to the device."""
        import torch

        from uniwetok.tokenizer import UniWeTok

        with user_errors(f"model {self._name!r}"):
            network = UniWeTok.from_checkpoint(self._weights, ema=self.ema)
        tell(self.card.title, network.report)
        self._network = network.to(device, getattr(torch, self.dtype)).record()
        if self._head_files:
            self._heads[0].to(device)

    @property
    def embedding_space(self) -> str:
        """Name of the teacher, and of its weights where it has several; `UserError` without one."""
        card = self._heads[1]
        return card.teacher if card.tag is None else f"{card.teacher}/{card.tag}"

    def embeddings(self, images: Tensor) -> dict[str, np.ndarray]:
        """Embed float32 images (B, 3, H, W) in [-1, 1] by every head that was trained."""
        import torch

        from uniwetok.tokenizer.quantizer import quantize

        network, heads = self._network, self._heads[0]
        latents = network.latents(images.to(network.device, network.dtype)).float()
        sides = {"pre": (heads.pre, latents), "post": (heads.post, quantize(latents))}
        with torch.no_grad():
            return {
                name: head(tokens).float().cpu().numpy()
                for name, (head, tokens) in sides.items()
                if head is not None
            }


SHIPPED = {"source": "uwt-eval", "licence": "Apache-2.0"}
"""What cards say of weights that ship with this package, under its licence."""


class NanoPlugin(UniWeTokPlugin):
    """The small tokenizer that ships with this package."""

    _name = "uniwetok-nano"

    def __init__(self, dtype: DType = "float32") -> None:
        super().__init__(WEIGHTS, dtype)

    @functools.cached_property
    def card(self) -> ModelCard:
        """That of weights which ship."""
        return super().card.model_copy(update=SHIPPED)

    @property
    def _title(self) -> str:
        return self._name


_USUAL = {
    "schedule": "linear",
    "first_token": "released",
    "dtype": "float32",
    "ema": True,
    "compile": False,
}
"""Options that a label leaves out."""


def written(value: object) -> object:
    """An option's value as it is given on the command line."""
    return str(value).lower() if isinstance(value, bool) else value


def label(title: str, options: Mapping[str, object]) -> str:
    """What tables call a model with these options, beside the usual ones."""
    texts = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={written(value)}"
        for name, value in options.items()
        if name not in _USUAL or value != _USUAL[name]
    ]
    return f"{title}?{'&'.join(texts)}" if texts else title


def model_card(
    name: str,
    label: str,
    config: dict[str, object],
    files: Iterable[Path],
    parameters: int,
    codes: UniWeTokConfig | None,
) -> ModelCard:
    """Make a card whose identity is the bytes of files.

    Args:
        name: of the plug-in.
        label: what tables call the model.
        config: sizes and options.
        files: those that decide what is computed; beside the first, or in the repository's own
            folder, the README that says the licence.
        parameters: how many.
        codes: sizes of the tokenizer whose codes the model gives, if it gives any.
    """
    paths = list(files)
    height, width = codes.grid(IMAGE_SIDE, IMAGE_SIDE) if codes else (0, 0)
    commit = str(config.get("commit", ""))
    home = next((each for each in paths[0].parents if each.name == commit), paths[0].parent)
    return ModelCard(
        name=name,
        label=label,
        config=config,
        weights_sha256=digest_of([weights_sha256(path) for path in paths]),
        parameters=parameters,
        codebook=codes and Codebook(groups=codes.groups, bits_per_group=codes.bits_per_group),
        tokens=height * width or None,
        dtype=str(config.get("dtype", "")),
        source=str(config.get("repository", paths[0].name)),
        revision=commit,
        licence=licence_in(home),
    )


def tell(model: str, report: LoadReport | None) -> None:
    """Say where weights were not simply taken: sizes assumed, averages taken, names left out."""
    if report and (report.assumed or report.from_ema or report.ignored):
        warn(f"model {model!r}: {report}")


def title(name: str, path: Path) -> str:
    """What tables call a plug-in with these weights."""
    # Training writes every run's weights into model/model.safetensors of its folder, and released
    # files have the same name.
    if path.stem == "model" and path.suffix and path.parent.name:
        path = path.parent
    return f"{name}:{path.resolve().parent.name if path.name == 'model' else path.stem}"


@contextlib.contextmanager
def user_errors(what: str) -> Iterator[None]:
    """Turn weights that cannot be read, or what they cannot do, into one line that begins so."""
    from uniwetok.mllm import MLLMError
    from uniwetok.tensors import CheckpointError

    try:
        yield
    except (CheckpointError, MLLMError) as error:
        raise UserError(f"{what}: {error}") from error
