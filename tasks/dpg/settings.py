"""The settings of a DPG-Bench protocol, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.interfaces.types import Record
from tasks.shared.protocol_settings import read_settings

Quirks = Literal["official", "fixed"]


class ElsewhereVqa(Record):
    """Answers come in a file, from a model that does not run in this environment."""

    source: Literal["file"]
    model: str
    """What the file's lines call the model, where they name one."""


class TransformersVqa(Record):
    """A model of transformers answers."""

    source: Literal["transformers"]
    model: str
    """Repository on the Hugging Face hub, or a folder as transformers saves it."""
    kind: Literal["image-text-to-text", "visual-question-answering"]
    """A model that chats, or one that was trained to answer questions only."""
    question: str = Field(pattern=r"\{question\}")
    """What is asked, with '{question}' in the question's place."""
    max_new_tokens: int = Field(ge=1)


class PluginVqa(Record):
    """Any model plug-in that replies to questions about images answers."""

    source: Literal["plugin"]
    model: str
    """As `--model` takes it."""
    question: str = Field(pattern=r"\{question\}")
    """What is asked, with '{question}' in the question's place."""
    max_new_tokens: int = Field(ge=1)


Vqa = ElsewhereVqa | TransformersVqa | PluginVqa


class DpgSettings(Record):
    """What DPG-Bench reads of a protocol."""

    images_per_prompt: Literal[4]
    """The quarters of a grid."""
    uint8: Literal["round"]
    """How float images become 8-bit: rounded to the nearest level."""
    quirks: Quirks
    """Whether the published script's mistakes are made or mended; see `tasks.dpg.scoring`."""
    vqa: Annotated[Vqa, Field(discriminator="source")]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> DpgSettings:
        """Check a protocol's settings; raise `UserError` naming what is missing or wrong."""
        return read_settings(cls, settings, "DPG-Bench")
