"""The toy tokenizer and its data."""

from tests.harness.toys import control, tiles

__all__ = ["control", "tiles"]
