"""The settings of a benchmark whose pictures are asked about, typed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.interfaces.types import Stage
from tasks.shared.asking import EndpointVqa, PluginVqa
from tasks.shared.benchmark import PromptSettings


class AskedSettings(PromptSettings):
    """What such a benchmark reads of a protocol."""

    scoring: Annotated[Literal["soft", "hard"], Stage.OBSERVE]
    """Whether a question scores how likely the right answer is, or 1 for it and 0 for others."""
    vqa: Annotated[PluginVqa | EndpointVqa, Field(discriminator="source"), Stage.OBSERVE]
    """Which model answers."""
