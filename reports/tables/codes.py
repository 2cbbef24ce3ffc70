"""What a result's model states of its codes: tokens, codebook, rate, or continuous latents."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.interfaces.errors import one_line
from harness.interfaces.types import IMAGE_SIDE, ResultRecord


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of a 256x256 image, as far as they are stated."""

    tokens: int | None = None
    codebook: str = ""
    """Symbols of a token; empty where latents are continuous."""
    continuous: str = ""
    """The dtype that continuous latents are stored in; empty where there is a codebook."""
    bits: float | None = None

    @classmethod
    def of(cls, record: ResultRecord) -> Codes:
        """What the record holds; it may be anybody's, so that nothing else is taken."""
        stated: Any = record.provenance.get("codes")
        if not isinstance(stated, dict):
            return cls()
        tokens: Any = stated.get("tokens")
        bits: Any = stated.get("bits")
        # JSON of others may hold anything here, true and Infinity too.
        rated = type(bits) in {int, float} and 0 < bits < math.inf
        return cls(
            tokens=tokens if type(tokens) is int and tokens > 0 else None,
            codebook=one_line(str(stated.get("codebook", ""))),
            continuous=one_line(str(stated.get("continuous", ""))),
            bits=float(bits) if rated else None,
        )

    def facts(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns of a table by their names: 'tokens', 'ratio', 'codebook'."""
        side = math.isqrt(self.tokens or 0)
        square = side > 0 and side * side == self.tokens
        even = square and IMAGE_SIDE % side == 0
        known = {
            "tokens": f"{side}x{side}" if square else str(self.tokens or ""),
            "ratio": str(IMAGE_SIDE // side) if even else "",
            "codebook": f"continuous, {self.continuous}" if self.continuous else self.codebook,
        }
        return tuple(known.get(name, "") for name in names)

    @property
    def text(self) -> str:
        """The rate in words, or that latents are continuous; empty where nothing is known."""
        parts = []
        if self.continuous:
            parts.append(f"continuous latents stored as {self.continuous}")
        if self.bits is not None:
            pixels = IMAGE_SIDE**2
            parts.append(
                f"{self.bits:,.0f} bits an image of 256x256, {self.bits / pixels:.4g} bpp, "
                f"{24 * pixels / self.bits:.4g}:1"
            )
        return ", ".join(parts)
