"""Progress of long work, as those who do the work tell it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


class Progress(Protocol):
    """Shows how far work has come, where somebody is looking."""

    def listing(self) -> AbstractContextManager[OnProgress]:
        """Progress of reading the data for its digests."""
        ...

    def bar(self, name: str) -> AbstractContextManager[OnProgress]:
        """Progress of one piece of work, told as (done, total)."""
        ...
