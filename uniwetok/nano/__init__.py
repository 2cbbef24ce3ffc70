"""The models that ship, `uniwetok-nano` and `uniwetok-ar-nano`, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the tokenizer's weights."""
AR_WEIGHTS = Path(__file__).parent / "ar-weights"
"""Folder of the class-to-image model's weights."""
GUIDANCE = 2.0
"""Guidance of the class-to-image model unless another is asked for, chosen by eye."""
SCHEDULE: Final = "constant"
"""Its schedule over the tokens, likewise."""
STEPS = 25
"""Its diffusion steps a token, likewise."""
