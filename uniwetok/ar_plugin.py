"""The class-to-image model as the harness sees it."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from harness.digests import DigestCache
from harness.errors import UserError
from harness.interfaces import Code
from harness.types import Codebook, ModelCard, digest_of
from uniwetok.plugins import DTYPES, TokenizerPlugin

if TYPE_CHECKING:
    from torch import Tensor

    from uniwetok.ar import BitDance
    from uniwetok.tokenizer import UniWeTok

Schedule = Literal["linear", "constant"]
_SCHEDULES = get_args(Schedule)
_TOKENIZER_FOLDER = "tokenizer"


class UniWeTokAR:
    """A BitDance over UniWeTok codes: `uniwetok-ar:PATH?tokenizer=PATH[&cfg=4][&steps=100]…`.

    Images depend on their class and seed alone, but for rounding in networks that see several
    images at a time, on a GPU.

    Args:
        argument: Weights of the model: a folder that training wrote, a .safetensors file or a
            released checkpoint.
        tokenizer: Weights of the tokenizer whose codes it was trained on; the folder `tokenizer`
            beside the model's weights where that is there.
        cfg: Weight of classifier-free guidance, at its largest; 1 is none.
        steps: Noisy diffusion steps a token.
        schedule: Of guidance over the tokens: 'linear' grows from none, as released; 'constant'.
        dtype: Precision of both networks: 'float32' or 'bfloat16'.
        ema: 'true' takes averaged weights where a checkpoint has them, 'false' the raw ones.
    """

    _name = "uniwetok-ar"
    _preset: str | None = None
    """Configuration that the weights must have; any if None."""
    _cfg = "3.2"

    def __init__(
        self,
        argument: str | None = None,
        tokenizer: str | None = None,
        cfg: str | None = None,
        steps: str = "100",
        schedule: str = "linear",
        dtype: str = DTYPES[0],
        ema: str = "true",
    ) -> None:
        if argument is None:
            raise UserError(
                f"model {self._name!r} needs weights: --model {self._name}:PATH?tokenizer=PATH"
            )
        for option, value, known in (
            ("schedule", schedule, _SCHEDULES),
            ("dtype", dtype, DTYPES),
            ("ema", ema, ("true", "false")),
        ):
            if value not in known:
                raise UserError(f"{self._name}: {option}={value} is not one of {', '.join(known)}")
        self._path = argument
        self._tokenizer_path = tokenizer or self._bundled_tokenizer()
        self._scale = _number(self._name, "cfg", cfg or self._cfg)
        self._steps = _whole(self._name, "steps", steps)
        self._schedule = cast("Schedule", schedule)
        self._dtype = dtype
        self._ema = ema == "true"

    def _bundled_tokenizer(self) -> str:
        path = Path(self._path)
        folder = (path if path.is_dir() else path.parent) / _TOKENIZER_FOLDER
        if not folder.is_dir():
            raise UserError(
                f"model {self._name!r} needs the tokenizer it was trained with: "
                f"--model {self._name}:{self._path}?tokenizer=PATH"
            )
        return str(folder)

    @property
    def classes(self) -> int:
        """How many there are."""
        return self._model.config.classes

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from both networks' files, their sizes, and how is sampled."""
        from uniwetok.ar import checkpoint as ar_files
        from uniwetok.tokenizer import checkpoint as tokenizer_files

        model, tokenizer = self._model, self._tokenizer
        cache = DigestCache()
        paths = [*ar_files.locate(self._path), *tokenizer_files.locate(self._tokenizer_path)]
        sizes = tokenizer.config
        return ModelCard(
            name=self._name,
            label=self._label,
            config={
                "model": model.config.to_dict(),
                "tokenizer": sizes.to_dict(),
                "cfg": self._scale,
                "steps": self._steps,
                "schedule": self._schedule,
                "dtype": self._dtype,
                "ema": self._ema,
            },
            weights_sha256=digest_of([cache.of_file(path) for path in paths if path is not None]),
            parameters=sum(weight.numel() for weight in model.parameters()),
            codebook=Codebook(groups=sizes.groups, bits_per_group=sizes.bits_per_group),
        )

    @property
    def _label(self) -> str:
        path = Path(self._path)
        # Training writes every run's weights into a folder of this name.
        name = path.resolve().parent.name if path.name == "model" else path.stem
        options = [f"cfg={self._scale:g}", f"steps={self._steps}"]
        options += [f"schedule={self._schedule}"] if self._schedule != _SCHEDULES[0] else []
        options += [f"dtype={self._dtype}"] if self._dtype != DTYPES[0] else []
        options += [] if self._ema else ["ema=false"]
        return f"{self._name}:{name}?{'&'.join(options)}"

    @functools.cached_property
    def _model(self) -> BitDance:
        from uniwetok.ar import PRESETS, BitDance
        from uniwetok.tokenizer import CheckpointError

        try:
            model = BitDance.from_checkpoint(self._path, ema=self._ema)
        except CheckpointError as error:
            raise UserError(f"model {self._name!r}: {error}") from error
        if self._preset is not None:
            differences = model.config.differences(PRESETS[self._preset])
            if differences:
                found = ", ".join(f"{name}={value}" for name, value in differences.items())
                raise UserError(
                    f"model {self._name!r}: {self._path} is of another size: {found}; "
                    f"--model uniwetok-ar:… takes any"
                )
        if self._scale != 1 and not model.config.label_dropout:
            raise UserError(
                f"{self._name}: cfg={self._scale:g}, but this model was trained without dropping "
                f"labels and knows no guidance; use cfg=1"
            )
        return model

    @functools.cached_property
    def _tokenizer(self) -> UniWeTok:
        from uniwetok.tokenizer import CheckpointError, UniWeTok

        try:
            tokenizer = UniWeTok.from_checkpoint(self._tokenizer_path)
        except CheckpointError as error:
            raise UserError(f"{self._name}: tokenizer={self._tokenizer_path}: {error}") from error
        sizes, model = tokenizer.config, self._model.config
        if sizes.latent_channels != model.latent_channels:
            raise UserError(
                f"{self._name}: the model {self._path} draws tokens of {model.latent_channels} "
                f"bits, the tokenizer {self._tokenizer_path} decodes {sizes.latent_channels}: give "
                f"the one it was trained with"
            )
        self._check_codes(tokenizer)
        return tokenizer

    def _check_codes(self, tokenizer: UniWeTok) -> None:
        """Compare the encoder with the one that training noted, where it did."""
        from uniwetok.train.ar.trainer import TOKENIZER_FILE
        from uniwetok.train.codes.cache import encoder_digest

        path = Path(self._path)
        note = (path if path.is_dir() else path.parent) / TOKENIZER_FILE
        if not note.is_file():
            return
        expected = json.loads(note.read_text(encoding="utf-8"))["encoder_sha256"]
        if encoder_digest(tokenizer) != expected:
            raise UserError(
                f"{self._name}: the model {self._path} was trained on codes of another tokenizer "
                f"than {self._tokenizer_path} (their encoders differ): give that one"
            )

    def load(self, device: str) -> None:
        """Move both networks to the device."""
        import torch

        dtype = getattr(torch, self._dtype)
        self._model.eval().to(device, dtype)
        self._decoder = TokenizerPlugin(self._tokenizer.eval().to(device, dtype))

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class.

        Raises:
            UserError: A class is none of the model's.
        """
        import torch

        from uniwetok.ar import Guidance, sample
        from uniwetok.tokenizer import quantizer
        from uniwetok.train.randomness import stream

        for label in classes:
            if not 0 <= label < self.classes:
                raise UserError(
                    f"class {label} is none of the {self.classes} that model {self.card.title!r} "
                    f"has, 0..{self.classes - 1}"
                )
        codes = sample(
            self._model,
            torch.tensor(list(classes)),
            # The decoder draws from the seeds themselves.
            [stream(seed, "tokens") for seed in seeds],
            guidance=Guidance(scale=self._scale, schedule=self._schedule),
            steps=self._steps,
        )
        side = self._model.config.grid * self._tokenizer.config.downsample
        return [Code(payload, side, side) for payload in quantizer.pack(codes)]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """Decode to float32 (B, 3, H, W); the decoder's noise comes from the seeds."""
        return self._decoder.decode(codes, seeds)


class UniWeTokARB(UniWeTokAR):
    """UniWeTok-B, 242M parameters; see `uniwetok-ar`. Guidance 3.2 as BitDance-B's."""

    _name, _preset, _cfg = "uniwetok-ar-b", "uniwetok-b", "3.2"


class UniWeTokARL(UniWeTokAR):
    """UniWeTok-L, 527M parameters; see `uniwetok-ar`. Guidance 4.0 as BitDance-L's."""

    _name, _preset, _cfg = "uniwetok-ar-l", "uniwetok-l", "4.0"


class UniWeTokARH(UniWeTokAR):
    """UniWeTok-H, 1.0B parameters; see `uniwetok-ar`. Guidance 4.55 as BitDance-H's."""

    _name, _preset, _cfg = "uniwetok-ar-h", "uniwetok-h", "4.55"


def _number(model: str, option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{model}: {option}={text} must be a number of at least 0")
    return value


def _whole(model: str, option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{model}: {option}={text} must be a whole number of at least 1")
    return int(text)
