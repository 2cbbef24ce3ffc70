"""The settings of a DPG-Bench protocol, typed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.interfaces.protocols import Count, ModelSettings
from harness.interfaces.types import Record, Stage
from harness.metrics.settings import DrawingMeasures
from tasks.dpg.questions import Quirks
from tasks.shared.asking import EndpointVqa, PluginVqa


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
    max_new_tokens: Count


Vqa = ElsewhereVqa | TransformersVqa | PluginVqa | EndpointVqa


class DpgSettings(DrawingMeasures, ModelSettings):
    """What DPG-Bench reads of a protocol."""

    images_per_prompt: Annotated[Literal[4], Stage.GENERATE]
    """The quarters of a grid."""
    uint8: Annotated[Literal["round"], Stage.GENERATE]
    """How float images become 8-bit: rounded to the nearest level."""
    quirks: Annotated[Quirks, Stage.OBSERVE]
    """Whether the published script's mistakes are made or mended; see `tasks.dpg.scoring`."""
    vqa: Annotated[Vqa, Field(discriminator="source"), Stage.OBSERVE]
