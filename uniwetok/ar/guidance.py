"""Classifier-free guidance: how strongly the class is followed, at which token and time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, Self, cast

Schedule = Literal["constant", "linear", "interval"]
FirstToken = Literal["released", "shared"]
_INTERVAL = re.compile(r"interval:(\d*\.?\d+)-(\d*\.?\d+)")


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Weight w of guidance: v = v_null + w (v_class - v_null).

    Raises:
        ValueError: a value is impossible; the message names it.
    """

    scale: float = 1.0
    """The weight, at its largest. At 1 there is no guidance and no null branch; at 0 the class is
    ignored. Published for the released 16x models: B 3.2, L 4.0, H 4.55, B-4x 3.9, B-16x 6.1;
    those of the UniWeTok models are not."""
    schedule: Schedule = "linear"
    """``constant``: the scale everywhere. ``linear`` (released): 1 + (scale - 1) i / n at step i of
    n, which starts at 1 and never reaches the scale. ``interval``: the scale at diffusion times
    within ``interval``, 1 elsewhere (Kynkäänniemi et al. 2024)."""
    interval: tuple[float, float] = (0.0, 1.0)
    """First and last diffusion time with guidance, where the schedule is ``interval``; 0 is
    noise."""
    first_token: FirstToken = "released"
    """What the null branch continues from where the first step's weight is 1, as in ``linear``.
    ``released``: a first token of its own, drawn without class, which it sees for the whole image.
    ``shared``: the image's first token, as at every later step."""

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise ValueError(f"guidance scale must be a finite number >= 0, got {self.scale}")
        if self.schedule not in {"constant", "linear", "interval"}:
            raise ValueError(
                f"guidance schedule {self.schedule!r} is none of constant, linear, interval"
            )
        if self.first_token not in {"released", "shared"}:
            raise ValueError(f"first_token={self.first_token!r} is neither released nor shared")
        object.__setattr__(self, "interval", tuple(self.interval))
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(
                f"guidance interval must be two times in order within 0..1, got {self.interval}"
            )

    @classmethod
    def from_options(cls, scale: float, schedule: str, first_token: str) -> Self:
        """Build from options of a command.

        Args:
            scale: the weight.
            schedule: "linear", "constant" or "interval:LOW-HIGH", such as "interval:0.2-0.8".
            first_token: "released" or "shared".

        Raises:
            ValueError: an option is none of these.
        """
        times = _INTERVAL.fullmatch(schedule)
        if times is None and schedule not in {"linear", "constant"}:
            raise ValueError(
                f"schedule={schedule} is not one of linear, constant, interval:LOW-HIGH (two "
                f"diffusion times within 0..1, such as interval:0.2-0.8)"
            )
        low, high = map(float, times.groups()) if times else (0.0, 1.0)
        return cls(
            scale=scale,
            schedule="interval" if times else cast("Schedule", schedule),
            interval=(low, high),
            first_token=cast("FirstToken", first_token),
        )

    def weight(self, step: int, steps: int, time: float) -> float:
        """Give the weight.

        Args:
            step: index of the token, or of the group of tokens, that is drawn.
            steps: how many there are in an image.
            time: diffusion time in 0..1.
        """
        if self.schedule == "linear":
            # Rises with the part of the image that is drawn.
            return 1 + (self.scale - 1) * step / steps
        low, high = self.interval
        if self.schedule == "interval" and not low <= time <= high:
            return 1.0
        return self.scale
