"""A text-to-image benchmark that is a file of prompts: pictures are drawn, observed and averaged.

Nothing else is needed than the file, an extractor and a metric, `tasks.shared.prompt_scores`'
`PromptMean` for one; see "Add a text-to-image benchmark" in CONTRIBUTING.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from harness.engine.protocols import FiledTask
from harness.interfaces.errors import UserError
from harness.interfaces.protocols import Count, ModelSettings
from harness.interfaces.types import Protocol, Stage, TaskSpec, digest_of
from harness.metrics.settings import DrawingMeasures
from tasks import PROTOCOLS

if TYPE_CHECKING:
    from tasks.shared.text_to_image import Prompt, TextToImageData


class PromptSettings(DrawingMeasures, ModelSettings):
    """What such a benchmark reads of a protocol."""

    images_per_prompt: Annotated[Count, Stage.GENERATE]
    uint8: Annotated[Literal["round"], Stage.GENERATE]
    """How float images become 8-bit: rounded to the nearest level."""


class PromptBenchmark(FiledTask):
    """Every prompt of a file, drawn several times.

    The file is a JSON list of texts, or of objects with a `prompt` and whatever the extractor looks
    at in `Drawing.about`. Prompts are called 00000, 00001 …, or by their own `id`.

    Args:
        name: What the task is called.
        title: What is measured, in a line.
        prompts: The file.
        metrics: Names of the figures; their extractors get `DrawnImages`.
        version: Raised whenever the extractor's code moves a number.
    """

    def __init__(
        self, name: str, title: str, prompts: Path, metrics: Sequence[str], version: int = 1
    ) -> None:
        super().__init__(
            TaskSpec(
                name=name,
                version=version,
                title=title,
                kind="text-to-image",
                interface=("TextToImage", "ImageFiles"),
                dataset=f"the prompts of {prompts.name}",
                layout="a JSON list of prompts",
                metrics=tuple(metrics),
                protocols=("prompts",),
            ),
            PROTOCOLS,
        )
        self._file = prompts

    def open(self, data: str | None, protocol: Protocol) -> TextToImageData[Mapping[str, Any]]:
        """The benchmark's own prompts, or those of the file `data`."""
        from tasks.shared.text_to_image import TextToImageData

        path = self._file if data is None else Path(data)
        each = self.settings(protocol).images_per_prompt
        return TextToImageData(read_prompts(path), each, path.name, "", self.spec.title)


def read_prompts(path: Path) -> list[Prompt[Mapping[str, Any]]]:
    """The prompts of a JSON file; raise `UserError` naming what is wrong with which."""
    from tasks.shared.text_to_image import Prompt

    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: expected a list of prompts")
    prompts: dict[str, Prompt[Mapping[str, Any]]] = {}
    for place, entry in enumerate(entries):
        about = {"prompt": entry} if isinstance(entry, str) else entry
        text = about.get("prompt") if isinstance(about, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{path}, prompt {place + 1}: expected a text under 'prompt'")
        name = str(about.get("id", f"{place:05d}"))
        if name in {"", ".", ".."} or set(name) & set("/\\\0"):
            raise UserError(f"{path}, prompt {place + 1}: the id {name!r} is no name of a file")
        if name in prompts:
            raise UserError(f"{path}, prompt {place + 1}: the id {name!r} stands there twice")
        prompts[name] = Prompt(name, text, about, digest_of(about))
    return list(prompts.values())
