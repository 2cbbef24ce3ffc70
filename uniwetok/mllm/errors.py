"""Errors of the multimodal model that a person can mend."""

from __future__ import annotations


class MLLMError(ValueError):
    """What was asked cannot be done; the one-line message says why and what to do."""
