"""Random weights in place of the published files, as the command line's tests have them."""

from __future__ import annotations

from tests.e2e.conftest import provide_weights, stand_ins, weights

__all__ = ["provide_weights", "stand_ins", "weights"]
