"""What is built at its first use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Builds something at its first use, once for all lanes."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._built: T | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The one thing built; others wait while it is under way."""
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built
