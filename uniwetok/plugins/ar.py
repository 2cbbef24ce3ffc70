"""The class-to-image model as the harness sees it."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.data.digests import DigestCache
from harness.interfaces import Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import Codebook, ModelCard, digest_of
from uniwetok.ar.guidance import Guidance
from uniwetok.nano import AR_WEIGHTS, GUIDANCE, SCHEDULE, STEPS, WEIGHTS
from uniwetok.plugins.tokenizer import DTYPES, TokenizerPlugin, number, whole

if TYPE_CHECKING:
    from torch import Tensor

    from uniwetok.ar import BitDance
    from uniwetok.tokenizer import UniWeTok

_TOKENIZER_FOLDER = "tokenizer"
_USUAL = {
    "schedule": "linear",
    "first_token": "released",
    "dtype": DTYPES[0],
    "ema": "true",
    "compile": "false",
}
"""Options that a label leaves out."""


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
        schedule: Of guidance: 'linear' grows from none over the tokens, as released; 'constant';
            'interval:0.2-0.8' has it at these diffusion times alone.
        dtype: Precision of both networks: 'float32' or 'bfloat16'.
        ema: 'true' takes averaged weights where a checkpoint has them, 'false' the raw ones.
        first_token: What the branch without class goes on from: a first token of its own, which is
            'released', or the image's, 'shared'.
        compile: 'true' compiles the diffusion head, and replays it as a CUDA graph on a GPU.
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
        schedule: str = _USUAL["schedule"],
        dtype: str = _USUAL["dtype"],
        ema: str = _USUAL["ema"],
        first_token: str = _USUAL["first_token"],
        compile: str = _USUAL["compile"],
    ) -> None:
        if argument is None:
            raise UserError(
                f"model {self._name!r} needs weights: --model {self._name}:PATH?tokenizer=PATH"
            )
        for option, value, known in (
            ("dtype", dtype, DTYPES),
            ("ema", ema, ("true", "false")),
            ("compile", compile, ("true", "false")),
        ):
            if value not in known:
                raise UserError(f"{self._name}: {option}={value} is not one of {', '.join(known)}")
        self._path = argument
        self._tokenizer_path = tokenizer or self._bundled_tokenizer()
        self._scale = number(self._name, "cfg", cfg or self._cfg)
        self._steps = whole(self._name, "steps", steps)
        try:
            self._guidance = Guidance.from_options(self._scale, schedule, first_token)
        except ValueError as error:
            raise UserError(f"{self._name}: {error}") from error
        self._options = {
            "schedule": schedule,
            "first_token": first_token,
            "dtype": dtype,
            "ema": ema,
            "compile": compile,
        }

    def _bundled_tokenizer(self) -> str:
        folder = self._folder / _TOKENIZER_FOLDER
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
        path = Path(self._path)
        return path if path.is_dir() else path.parent

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
                **self._options,
            },
            weights_sha256=digest_of([cache.of_file(path) for path in paths if path is not None]),
            parameters=sum(weight.numel() for weight in model.parameters()),
            codebook=Codebook(groups=sizes.groups, bits_per_group=sizes.bits_per_group),
        )

    @property
    def _label(self) -> str:
        options = [f"cfg={self._scale:g}", f"steps={self._steps}"]
        for name, value in self._options.items():
            options += [f"{name}={value}"] if value != _USUAL[name] else []
        return f"{self._title}?{'&'.join(options)}"

    @property
    def _title(self) -> str:
        path = Path(self._path)
        # Training writes every run's weights into a folder of this name.
        name = path.resolve().parent.name if path.name == "model" else path.stem
        return f"{self._name}:{name}"

    @functools.cached_property
    def _model(self) -> BitDance:
        from uniwetok.ar import PRESETS, BitDance
        from uniwetok.tokenizer import CheckpointError

        try:
            model = BitDance.from_checkpoint(self._path, ema=self._options["ema"] == "true")
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
        from uniwetok.ar.checkpoint import TOKENIZER_FILE
        from uniwetok.tokenizer.model import encoder_digest

        note = self._folder / TOKENIZER_FILE
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

        dtype = getattr(torch, self._options["dtype"])
        self._model.eval().to(device, dtype)
        self._decoder = TokenizerPlugin(self._tokenizer.eval().to(device, dtype))

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class.

        Raises:
            UserError: A class is none of the model's.
        """
        import torch

        from uniwetok.ar import sample
        from uniwetok.randomness import stream
        from uniwetok.tokenizer import quantizer

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
            guidance=self._guidance,
            steps=self._steps,
            compiled=self._options["compile"] == "true",
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


class UniWeTokARNano(UniWeTokAR):
    """The small model that ships with this package: `uniwetok-ar-nano[?cfg=2][&steps=25]…`.

    It draws 55 classes of its own, which docs/nano.md lists, on uniwetok-nano's codes.

    Args:
        cfg: Weight of classifier-free guidance, at its largest; 1 is none.
        steps: Noisy diffusion steps a token.
        schedule: Of guidance, as `uniwetok-ar` takes it.
        dtype: Precision of both networks: 'float32' or 'bfloat16'.
    """

    _name, _preset, _cfg = "uniwetok-ar-nano", None, str(GUIDANCE)
    protocols: ClassVar[Mapping[str, str]] = {"imagenet-gen": "nano"}
    """The protocol of its classes, where none is asked for."""

    def __init__(
        self,
        cfg: str | None = None,
        steps: str = str(STEPS),
        schedule: str = SCHEDULE,
        dtype: str = DTYPES[0],
    ) -> None:
        super().__init__(str(AR_WEIGHTS), str(WEIGHTS), cfg, steps, schedule, dtype)

    @property
    def _title(self) -> str:
        return self._name
