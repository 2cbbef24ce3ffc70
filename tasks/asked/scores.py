"""From answers about pictures to a benchmark's figures, and how far to trust who answered."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Label, Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.types import MetricValue
from harness.metrics import stats
from tasks.asked.answers import EXTRACTOR
from tasks.asked.genai import ADVANCED, BASIC
from tasks.asked.geneval2 import ATOMS, SKILLS
from tasks.shared.prompt_scores import PromptMean, Samples


class _Part(PromptMean):
    """A figure of those pictures in which a column has some value.

    Args:
        column: What is averaged, or summed where there is a weight.
        of: The column that decides.
        value: What it must be; anything above 0 where None.
        label: How the figure is printed.
        weight: As of `PromptMean`.
        scale: As of `PromptMean`.
    """

    def __init__(
        self,
        column: str,
        of: str,
        value: int | None,
        label: Label,
        *,
        weight: str = "",
        scale: float = 100,
    ) -> None:
        super().__init__(column, EXTRACTOR, label=label, weight=weight, scale=scale)
        self._of = of
        self._value = value

    def counts(self, samples: Samples) -> NDArray[np.bool_]:
        """The pictures that it is about."""
        found = np.asarray(samples[self._of], np.float64)
        return found > 0 if self._value is None else found == self._value

    def why_none(self, samples: Samples) -> str:
        """No prompt is of this kind."""
        del samples
        return f"no prompt of this kind ({self.label.title})"


class JudgeAgreement:
    """Share of the marks by construction that the judge is right about."""

    needs: tuple[str, ...] = (EXTRACTOR,)
    higher_is_better: bool | None = True
    label = Label("judge", 1, percent=True)

    def score(self, observations: Observations, settings: Mapping[str, Any]) -> MetricValue:
        """The share, 0 to 1, with Wilson's interval over the marks."""
        del settings
        rows = observations.samples
        known = rows[rows["marks"] > 0] if len(rows) else rows
        if not len(known):
            raise Unavailable("the judge was not asked about the marks: it answered elsewhere")
        share, n = float(known["marks_agreed"].mean()), int(known["marks"].min())
        note = f"of {n} marks by construction, see uwt-eval calibrate --judge"
        return stats.wilson(round(share * n), n).around(share, n, note)


def _skill(name: str, scale: float = 100) -> PromptMean:
    if scale == 100:
        label = Label(name.capitalize(), 2, about=f"Mean score of the questions of {name}, of 100.")
    else:
        about = f"Probability of yes, the mean over prompts tagged {name!r}."
        label = Label(name.partition(" ")[0].capitalize(), 3, about=about)
    return _Part(f"{name}_sum", f"{name}_asked", None, label, weight=f"{name}_asked", scale=scale)


_TIFA = "Soft-TIFA: mean over prompts of the"
FIGURES = SimpleNamespace(
    **{
        "judge_agreement": JudgeAgreement(),
        **{
            f"geneval2_{name}": PromptMean(
                name,
                EXTRACTOR,
                scale=100,
                label=Label(
                    name.upper(), 2, about=f"{_TIFA} {kind} mean of a prompt's scores, of 100."
                ),
            )
            for name, kind in (("am", "arithmetic"), ("gm", "geometric"))
        },
        **{f"geneval2_{name}": _skill(name) for name in SKILLS},
        **{
            f"geneval2_atoms{n}": _Part(
                "gm",
                "atoms",
                n,
                Label(f"{n} atoms", 2, optional=True, about=f"GM of the prompts of {n} atoms."),
            )
            for n in ATOMS
        },
        "genai_overall": PromptMean(
            "am",
            EXTRACTOR,
            label=Label("VQAScore", 3, about="Probability of yes, the mean over prompts."),
        ),
        **{
            f"genai_{name.partition(' ')[0]}": _skill(name, 1)
            for name in ("basic", "advanced", *BASIC, *ADVANCED)
        },
    }
)
"""The figures by name."""
