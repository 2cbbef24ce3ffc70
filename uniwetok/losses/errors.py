"""Errors of the losses."""

from __future__ import annotations


class MissingWeights(RuntimeError):
    """Weights that a loss needs are not at hand; the one-line message says what to fetch.

    Losses never download: a run on many machines should not stall or differ by what each one got.
    """
