"""What stops a training run for a reason the user can mend."""

from __future__ import annotations


class TrainingError(ValueError):
    """The message says what is wrong, where, and how to fix it."""
