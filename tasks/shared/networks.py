"""Networks of other people: where their files lie on this machine, and that they can be built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.data.digests import verified_sha256
from harness.interfaces import MultimodalLM, Question
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.extras import lacking
from harness.interfaces.observing import Once, turn_of
from harness.interfaces.registry import others_code
from harness.interfaces.types import ModelCard

T = TypeVar("T")

_OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def locate(name: str, setting: str, files: Sequence[str] = ()) -> Path:
    """The folder of a model's files, or its snapshot in the Hugging Face cache, never downloaded.

    Args:
        name: A folder, or a repository on the hub.
        setting: The protocol's setting that names it, for errors.
        files: What must lie there.

    Raises:
        UserError: There is no such model, or the folder lacks a file.
        Unavailable: The cache has not all of it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    missing = f"model missing, run `hf download {' '.join([name, *files])}`"
    folder = Path(name).expanduser()
    given = folder.is_dir()
    if not given:
        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except HFValidationError as error:
            raise UserError(
                f"protocol setting {setting!r}: {name!r} is neither a folder nor a name on the "
                "Hugging Face hub"
            ) from error
        except LocalEntryNotFoundError as error:
            raise Unavailable(missing) from error
    if absent := [file for file in files if not (folder / file).is_file()]:
        if given:
            raise UserError(f"protocol setting {setting!r}: {folder} has no {', '.join(absent)}")
        raise Unavailable(missing)
    return folder


def open_clip_weights(model: str, tag: str) -> Path:
    """An open_clip model's weights in the Hugging Face cache, never downloaded.

    Raises:
        Unavailable: They, or its tokenizer, are not there.
        UserError: open_clip publishes no such weights on the hub.
    """
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    published = open_clip.get_pretrained_cfg(model, tag)
    repository, _, filename = published.get("hf_hub", "").rpartition("/")
    if not repository:
        raise UserError(
            f"the protocol's open_clip model: open_clip publishes no weights {tag!r} of "
            f"{model!r} on the Hugging Face hub; see open_clip.list_pretrained()"
        )
    needed = open_clip.get_model_config(model)["text_cfg"].get("hf_tokenizer_name")
    if needed and (text := lacking("transformers")):
        raise Unavailable(f"the tokenizer of {model} {text}")
    if needed and not isinstance(try_to_load_from_cache(needed, "tokenizer_config.json"), str):
        raise Unavailable(f"tokenizer of {needed} missing, run `hf download {needed}`")
    for candidate in (filename,) if filename else _OPEN_CLIP_FILES:
        found = try_to_load_from_cache(repository, candidate)
        if isinstance(found, str):
            return Path(found)
    raise Unavailable(f"weights of {repository} missing, run `hf download {repository}`")


def pinned(path: Path, expected: str, fix: str = "") -> str:
    """The SHA-256 of a file of weights; raise `Unavailable` where the protocol pins another one.

    Args:
        path: The file.
        expected: What the protocol pins; empty for whichever file lies there.
        fix: The command that brings the right file, if there is one.
    """
    digest = verified_sha256(path)
    if expected not in {"", digest}:
        raise Unavailable(
            f"{path} is not the file that the protocol pins (its SHA-256 is {digest[:12]}…, "
            f"expected {expected[:12]}…)" + (f", run `{fix}`" if fix else "")
        )
    return digest


@contextlib.contextmanager
def building(what: str) -> Iterator[None]:
    """Turn whatever goes wrong while a network is built into one `UserError`.

    Damaged or foreign files raise nearly any exception from within their formats' readers.

    Args:
        what: Begins the error: 'the detector in FOLDER cannot be built'.
    """
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{what}: {reason}") from error


class LazyModel:
    """A model that is loaded when it is first asked: kept replies need none.

    Args:
        plugin: Answers questions, unless it is put to another use.
        device: Where it is loaded.
        card: What it is, as `ModelChoice.card` says.
    """

    def __init__(self, plugin: MultimodalLM, device: str, card: ModelCard) -> None:
        self.card = card
        self._turn = turn_of(plugin)
        self._plugin = plugin
        self._device = device
        self._loaded = Once(self._load)

    def _load(self) -> MultimodalLM:
        from harness.engine.models import load

        load(self._plugin, self._device)
        return self._plugin

    def reply(
        self, questions: Sequence[Question], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> Any:
        """What the plug-in makes of the questions, unchecked."""
        return self.use(
            lambda model: model.reply(questions, max_new_tokens=max_new_tokens, stop=stop)
        )

    def use(self, call: Callable[[Any], T]) -> T:
        """What comes of a call of the loaded plug-in, by one thread at a time."""
        model = self._loaded()
        with self._turn, others_code():
            return call(model)
