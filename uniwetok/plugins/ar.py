"""The class-to-image model as the harness sees it."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from harness.interfaces import Argument, Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import ModelCard
from uniwetok.ar.guidance import FirstToken, Guidance
from uniwetok.nano import AR_WEIGHTS, GUIDANCE, SCHEDULE, STEPS, WEIGHTS
from uniwetok.plugins.tokenizer import (
    SHIPPED,
    Averaged,
    DecoderPlugin,
    DType,
    label,
    model_card,
    packed,
    tell,
    title,
    user_errors,
    written,
)

if TYPE_CHECKING:
    from uniwetok.ar import BitDanceConfig
    from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

_TOKENIZER_FOLDER = "tokenizer"
Scale = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    "Weight of classifier-free guidance, at its largest; 1 is none.",
]
Steps = Annotated[int, Field(ge=1, le=100_000), "Noisy diffusion steps a token."]
Schedule = Annotated[
    str,
    "Of guidance: linear grows from none over the tokens, as released; constant; interval:0.2-0.8 "
    "has it at these diffusion times alone.",
]


@dataclass(eq=False)
class UniWeTokAR(DecoderPlugin):
    """A BitDance over UniWeTok codes.

    Images depend on their class and seed alone, but for rounding in networks that see several
    images at a time, on a GPU.
    """

    path: Annotated[
        Path,
        Argument,
        "Weights of the model: a folder that training wrote, a .safetensors file or a released "
        "checkpoint.",
    ]
    tokenizer: Annotated[
        Path | None,
        "Weights of the tokenizer whose codes it was trained on; the folder 'tokenizer' beside the "
        "model's weights where that is there.",
    ] = None
    cfg: Scale = 3.2
    steps: Steps = 100
    schedule: Schedule = "linear"
    first_token: Annotated[
        FirstToken,
        "What the branch without class goes on from: a first token of its own, as released, or the "
        "image's, shared.",
    ] = "released"
    dtype: DType = "float32"
    ema: Averaged = True
    compile: Annotated[bool, "Compile the diffusion head; the first image waits for it."] = False

    _name: ClassVar[str] = "uniwetok-ar"
    _preset: ClassVar[str | None] = None
    """Configuration that the weights must have; any if None."""

    def __post_init__(self) -> None:
        _ = self._guidance, self._tokenizer_files

    @functools.cached_property
    def _guidance(self) -> Guidance:
        return Guidance.from_options(self._scale, self.schedule, self.first_token)

    @property
    def _scale(self) -> float:
        return self.cfg

    @property
    def _weights(self) -> Path:
        return self.path

    @functools.cached_property
    def _tokenizer_files(self) -> Path:
        beside = self._folder / _TOKENIZER_FOLDER
        if self.tokenizer is None and not beside.is_dir():
            raise UserError(
                f"model {self._name!r} needs the tokenizer it was trained with: "
                f"--model {self._name}:{self.path}?tokenizer=PATH"
            )
        return self.tokenizer or beside

    @property
    def classes(self) -> int:
        """How many there are."""
        return self._config.classes

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """Their names, where the weights' folder has a list; else none."""
        from uniwetok.ar.checkpoint import NAMES_FILE

        path = self._folder / NAMES_FILE
        if not path.is_file():
            return ()
        names = tuple(path.read_text(encoding="utf-8").splitlines())
        if len(names) != self.classes:
            raise UserError(
                f"model {self._name!r}: {path} has {len(names)} names for {self.classes} classes"
            )
        return names

    @property
    def _folder(self) -> Path:
        return self._weights if self._weights.is_dir() else self._weights.parent

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from both networks' files, their sizes, and how is sampled."""
        from uniwetok.ar import checkpoint as ar_files
        from uniwetok.tensors import files_of
        from uniwetok.tokenizer import checkpoint as tokenizer_files

        model, tokenizer = self._config, self._tokenizer_config
        config = {
            "model": model.to_dict(),
            "tokenizer": tokenizer.to_dict(),
            "cfg": self._scale,
            "steps": self.steps,
            **{name: written(value) for name, value in self._options.items()},
            **self._origin,
        }
        return model_card(
            self._name,
            label(self._title, {"cfg": self._scale, "steps": self.steps, **self._options}),
            config,
            [
                *files_of(*ar_files.locate(self._weights)),
                *files_of(*tokenizer_files.locate(self._tokenizer_files)),
            ],
            self._described[1],
            tokenizer,
        ).model_copy(update={"sizes": (self._side,)})

    @property
    def _side(self) -> int:
        """Side of every image that it draws, in pixels."""
        return self._config.grid * self._tokenizer_config.downsample

    @property
    def _origin(self) -> dict[str, str]:
        """What else identifies the weights."""
        return {}

    @property
    def loaded(self) -> str:
        """Which weights were taken of both networks' files, once they are."""
        return f"{self._model.report}; {self._network.report}"

    @property
    def _options(self) -> dict[str, object]:
        names = ("schedule", "first_token", "dtype", "ema", "compile")
        return {name: getattr(self, name) for name in names}

    @property
    def _title(self) -> str:
        return title(self._name, self._weights)

    @functools.cached_property
    def _described(self) -> tuple[BitDanceConfig, int]:
        """Configuration and number of parameters, from the files' headers."""
        from uniwetok.ar import PRESETS, checkpoint

        with user_errors(f"model {self._name!r}"):
            config, parameters = checkpoint.describe(self._weights)
        if self._preset is not None:
            differences = config.differences(PRESETS[self._preset])
            if differences:
                found = ", ".join(f"{name}={value}" for name, value in differences.items())
                raise UserError(
                    f"model {self._name!r}: {self._weights} is of another size: {found}; "
                    f"--model uniwetok-ar:… takes any"
                )
        if self.cfg != 1 and not config.label_dropout:
            raise UserError(
                f"{self._name}: cfg={self.cfg}, but this model was trained without dropping "
                f"labels and knows no guidance; use cfg=1"
            )
        return config, parameters

    @property
    def _config(self) -> BitDanceConfig:
        return self._described[0]

    @functools.cached_property
    def _tokenizer_config(self) -> UniWeTokConfig:
        from uniwetok.tokenizer import checkpoint

        with user_errors(f"{self._name}: tokenizer={self._tokenizer_files}"):
            config, _ = checkpoint.describe(self._tokenizer_files)
        if config.latent_channels != self._config.latent_channels:
            raise UserError(
                f"{self._name}: the model {self._weights} draws tokens of "
                f"{self._config.latent_channels} bits, the tokenizer {self._tokenizer_files} "
                f"decodes {config.latent_channels}: give the one it was trained with"
            )
        return config

    def load(self, device: str) -> None:
        """Build both networks on the device.

        Raises:
            UserError: Weights are damaged, or the tokenizer is not the one of training.
        """
        import torch

        from uniwetok.ar import BitDance
        from uniwetok.ar.solver import solver_of
        from uniwetok.tokenizer import UniWeTok

        dtype = getattr(torch, self.dtype)
        with user_errors(f"{self._name}: tokenizer={self._tokenizer_files}"):
            tokenizer = UniWeTok.from_checkpoint(self._tokenizer_files)
        self._check_codes(tokenizer)
        with user_errors(f"model {self._name!r}"):
            model = BitDance.from_checkpoint(self._weights, ema=self.ema)
        tell(self.card.title, model.report)
        self._model = model.to(device, dtype)
        # Kept for all batches, and with it what was compiled and captured.
        self._solver = solver_of(self._model.head.net, self.steps, compiled=self.compile)
        self._network = tokenizer.to(device, dtype).record()

    def _check_codes(self, tokenizer: UniWeTok) -> None:
        """Compare the encoder with the one that training noted, where it did."""
        from uniwetok.ar.checkpoint import TOKENIZER_FILE
        from uniwetok.tokenizer.model import encoder_digest

        note = self._folder / TOKENIZER_FILE
        if not note.is_file():
            return
        expected = json.loads(note.read_text(encoding="utf-8"))["encoder_sha256"]
        if encoder_digest(tokenizer) != expected:
            raise UserError(
                f"{self._name}: the model {self._weights} was trained on codes of another "
                f"tokenizer than {self._tokenizer_files} (their encoders differ): give that one"
            )

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class.

        Raises:
            UserError: A class is none of the model's.
        """
        import torch

        from uniwetok.ar import sample
        from uniwetok.randomness import stream

        check_classes(classes, self.classes, self.card.title)
        codes = sample(
            self._model,
            torch.tensor(list(classes)),
            # The decoder draws from the seeds themselves.
            [stream(seed, "tokens") for seed in seeds],
            guidance=self._guidance,
            steps=self.steps,
            solver=self._solver,
        )
        return packed(codes, self._side, self._side)


def check_classes(classes: Sequence[int], count: int, model: str) -> None:
    """Raise `UserError` that names a class which is none of so many that a model has."""
    for number in classes:
        if not 0 <= number < count:
            raise UserError(
                f"class {number} is none of the {count} that model {model!r} has, 0..{count - 1}"
            )


class UniWeTokARB(UniWeTokAR):
    """UniWeTok-B, 242M parameters; see `uniwetok-ar`. Guidance 3.2 as BitDance-B's."""

    _name, _preset = "uniwetok-ar-b", "uniwetok-b"


@dataclass(eq=False)
class UniWeTokARL(UniWeTokAR):
    """UniWeTok-L, 527M parameters; see `uniwetok-ar`. Guidance 4.0 as BitDance-L's."""

    cfg: Scale = 4.0

    _name, _preset = "uniwetok-ar-l", "uniwetok-l"


@dataclass(eq=False)
class UniWeTokARH(UniWeTokAR):
    """UniWeTok-H, 1.0B parameters; see `uniwetok-ar`. Guidance 4.55 as BitDance-H's."""

    cfg: Scale = 4.55

    _name, _preset = "uniwetok-ar-h", "uniwetok-h"


class UniWeTokARNano(UniWeTokAR):
    """The small model that ships with this package.

    It draws 55 classes of its own, which docs/nano.md lists, on uniwetok-nano's codes.
    """

    _name = "uniwetok-ar-nano"
    protocols: ClassVar[Mapping[str, str]] = {"imagenet-gen": "nano"}
    """The protocol of its classes, where none is asked for."""

    def __init__(
        self,
        cfg: Scale = GUIDANCE,
        steps: Steps = STEPS,
        schedule: Schedule = SCHEDULE,
        dtype: DType = "float32",
    ) -> None:
        super().__init__(AR_WEIGHTS, WEIGHTS, cfg, steps, schedule, dtype=dtype)

    @functools.cached_property
    def card(self) -> ModelCard:
        """That of weights which ship."""
        return super().card.model_copy(update=SHIPPED)

    @property
    def _title(self) -> str:
        return self._name
