"""Anything that encodes and decodes images as a model of the harness: a module, two functions."""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.interfaces import Code
from harness.interfaces.errors import UserError
from harness.interfaces.types import Codebook, ModelCard, digest_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Encode = Callable[["Tensor"], Any]
Decode = Callable[[Any], "Tensor"]
Rate = float | Callable[[int, int], float]


def tokenizer(
    module: nn.Module | None = None,
    *,
    encode: Encode | None = None,
    decode: Decode | None = None,
    name: str,
    codebook: int | None = None,
    bits: Rate | None = None,
    modules: Sequence[nn.Module] = (),
) -> WrappedTokenizer:
    """Make a tokenizer of a module with `encode` and `decode`, or of two functions.

    Images are float32 (B, 3, H, W) in [-1, 1], in the dtype and on the device of the module's
    weights where there are some. Codes are a tensor or array whose first dimension is the batch;
    they come back to `decode` as they were. Modules are in evaluation mode while they are measured,
    and as they were afterwards, so that it may be in the middle of a training. Weights or code that
    changed make another model, whose results are computed anew.

    Args:
        module: Offers `encode` and `decode`, unless they are given.
        encode: Images to codes.
        decode: Codes to images, nominally in [-1, 1].
        name: What tables call it.
        codebook: Codes are integers below this, each worth its logarithm in bits.
        bits: Rate of an image where there is no codebook: a number, or one for a height and width.
            Unless given, what the codes take in memory counts; boolean ones are a bit each.
        modules: Whose weights decide what is computed, where functions do not refer to them.

    Raises:
        UserError: One of the functions is missing, or both a codebook and bits are given.
    """
    encode = encode or getattr(module, "encode", None)
    decode = decode or getattr(module, "decode", None)
    if encode is None or decode is None:
        raise UserError(f"tokenizer {name!r} needs both encode and decode, by a module or as given")
    if codebook is not None and bits is not None:
        raise UserError(f"tokenizer {name!r}: give codebook or bits, not both")
    found = [*([module] if module is not None else []), *modules]
    found += [each for function in (encode, decode) for each in _modules_of(function)]
    return WrappedTokenizer(
        encode, decode, name, codebook, bits, list({id(each): each for each in found}.values())
    )


class WrappedTokenizer:
    """What `tokenizer` makes: a factory of models as they are at the moment."""

    def __init__(
        self,
        encode: Encode,
        decode: Decode,
        name: str,
        codebook: int | None,
        bits: Rate | None,
        modules: list[nn.Module],
    ) -> None:
        self.name = name
        self.encode, self.decode = encode, decode
        self.codebook = None if codebook is None else Codebook(size=codebook)
        self.bits = bits
        self.modules = modules

    def __call__(self) -> _Model:
        """The model with the weights that it has now."""
        return _Model(self)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Have all modules in evaluation mode; afterwards each part is as it was."""
        parts = [part for module in self.modules for part in module.modules()]
        before = [part.training for part in parts]
        for part in parts:
            part.training = False
        try:
            yield
        finally:
            for part, training in zip(parts, before, strict=True):
                part.training = training


class _Model:
    """The model as the engine sees it; its weights are looked at once."""

    def __init__(self, wrapped: WrappedTokenizer) -> None:
        self._wrapped = wrapped

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from weights and code."""
        wrapped = self._wrapped
        code = [_code_of(wrapped.encode), _code_of(wrapped.decode)]
        rate = _code_of(wrapped.bits) if callable(wrapped.bits) else wrapped.bits
        parameters = [each for module in wrapped.modules for each in module.parameters()]
        return ModelCard(
            name=wrapped.name,
            config={"code": code, "bits": rate},
            weights_sha256=_digest_of_weights(wrapped.modules) if wrapped.modules else None,
            parameters=sum(each.numel() for each in parameters) or None,
            codebook=wrapped.codebook,
            source="Python",
        )

    def load(self, device: str) -> None:
        """Nothing: modules are measured where they are."""

    def encode(self, images: Tensor) -> list[Code]:
        """As the harness asks for it."""
        import torch

        with torch.no_grad():
            codes = self._wrapped.encode(self._placed(images))
        values = codes.detach().cpu().numpy() if isinstance(codes, torch.Tensor) else codes
        if not isinstance(values, np.ndarray) or values.shape[:1] != images.shape[:1]:
            raise ValueError(
                f"encode gave {_described(codes)} for {len(images)} images: a tensor or array "
                "with a first dimension of so many is needed"
            )
        return [self._code(each, *images.shape[2:]) for each in values]

    def _code(self, values: np.ndarray, height: int, width: int) -> Code:
        wrapped = self._wrapped
        if wrapped.codebook is not None:
            if values.dtype.kind not in "iu" or (
                values.size and not (values.min() >= 0 and values.max() < wrapped.codebook.size)
            ):
                raise ValueError(f"codes are no integers from 0 below {wrapped.codebook.size}")
            bits = wrapped.codebook.bits(values.size)
        elif wrapped.bits is None:
            bits = float(values.size if values.dtype == bool else 8 * values.nbytes)
        else:
            bits = wrapped.bits(height, width) if callable(wrapped.bits) else wrapped.bits
        file = io.BytesIO()
        np.save(file, values, allow_pickle=False)
        return Code(file.getvalue(), height, width, bits)

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """As the harness asks for it."""
        import torch

        del seeds
        stacked = np.stack([np.load(io.BytesIO(code.payload)) for code in codes])
        with torch.no_grad():
            images = self._wrapped.decode(torch.from_numpy(stacked).to(self._place))
        if not isinstance(images, torch.Tensor):
            raise TypeError(f"decode gave {_described(images)}, not a tensor")
        return images.detach().float()

    @property
    def _weight(self) -> Tensor | None:
        """A weight whose dtype and device are those of images."""
        parameters = (each for module in self._wrapped.modules for each in module.parameters())
        return next((each for each in parameters if each.is_floating_point()), None)

    @property
    def _place(self) -> torch.device | str:
        return "cpu" if self._weight is None else self._weight.device

    def _placed(self, images: Tensor) -> Tensor:
        weight = self._weight
        return images if weight is None else images.to(weight.device, weight.dtype)


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" {tuple(shape)}" if shape is not None else "")


def _modules_of(function: Callable[..., Any]) -> list[nn.Module]:
    """Modules that a function is a method of, or refers to by name."""
    from torch import nn

    inner = inspect.unwrap(function)
    if isinstance(inner, functools.partial):
        given = [*inner.args, *inner.keywords.values()]
        return [
            *(each for each in given if isinstance(each, nn.Module)), *_modules_of(inner.func)
        ]  # fmt: skip
    owner = getattr(inner, "__self__", inner)
    if isinstance(owner, nn.Module):
        return [owner]
    held = list(vars(owner).values()) if hasattr(owner, "__dict__") and owner is not inner else []
    if inspect.isfunction(inner):
        names = inspect.getclosurevars(inner)
        held += [*names.nonlocals.values(), *names.globals.values()]
    return [each for each in held if isinstance(each, nn.Module)]


def _digest_of_weights(modules: Sequence[nn.Module]) -> str:
    """SHA-256 over names, dtypes and values of all parameters and buffers."""
    import torch

    digest = hashlib.sha256()
    for number, module in enumerate(modules):
        for name, value in module.state_dict().items():
            digest.update(f"{number}.{name}".encode())
            if isinstance(value, torch.Tensor):
                digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
                raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                digest.update(raw.numpy().data)
    return digest.hexdigest()


def _code_of(function: Callable[..., Any]) -> str:
    """Digest of a function's source, or of its class's; where there is none, of its byte code."""
    inner = inspect.unwrap(function)
    if isinstance(inner, functools.partial):
        return digest_of([_code_of(inner.func), repr(inner.keywords), len(inner.args)])
    owner = getattr(inner, "__self__", None)
    what = inner if owner is None else type(owner)
    if not (inspect.isfunction(what) or inspect.isclass(what) or inspect.ismethod(what)):
        what = type(what)
    try:
        return digest_of(inspect.getsource(what))
    except (OSError, TypeError):
        code = getattr(inner, "__code__", None)
        return digest_of([getattr(what, "__qualname__", ""), code.co_code.hex() if code else ""])
