"""GenEval's verdict on one picture, from detections: a pure function, as published.

Follows djghosh13/geneval at commit af4902f. Boxes and scores are float32 as they were there: at
the thresholds their rounding decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.geneval.prompts import COLOURS, Clause, Metadata
from tasks.geneval.settings import Rules

_STILL = 1e-3
"""Offset in pixels below which two objects lie at the same place."""
_DIRECTION = 0.5
"""Share of an offset that must point in a direction."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object found in a picture."""

    name: str
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels."""
    score: float
    colour: str | None = None
    """Where it was classified."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a picture holds what its prompt asks for."""

    correct: bool
    reason: str
    """A line for each thing that is wrong; empty where nothing is."""


ColourOf = Callable[[int], str]
"""Colour of the detection at a place; asked only for those that a colour decides."""


def evaluate(
    metadata: Metadata, detections: Sequence[Detection], rules: Rules, colour_of: ColourOf
) -> Verdict:
    """Judge one picture.

    Args:
        metadata: What its prompt asks for.
        detections: All objects found, in any order; of equal scores the later one is preferred.
        rules: Thresholds.
        colour_of: Colour of a detection by its place in `detections`.
    """
    # Counting is judged at 0.9 in place of 0.3: a weak second detection of an object would make
    # 'three' of two, while for 'is there one' it does no harm.
    found = select(detections, metadata.tag, rules)
    reasons: list[str] = []
    matched: list[list[int] | None] = []
    for clause in metadata.include:
        # Only the best `count` are looked at: more are wrong only where `exclude` says so.
        places = found.get(clause.name, [])[: clause.count]
        problem = _problem(clause, places, matched, detections, rules, colour_of)
        # A later clause may lie 'left of' this one; what was not found has no place.
        matched.append(None if problem else places)
        reasons += [problem] if problem else []
    for clause in metadata.exclude:
        count = len(found.get(clause.name, []))
        if count >= clause.count:
            reasons.append(f"expected {clause.name}<{clause.count}, found {count}")
    return Verdict(not reasons, "\n".join(reasons))


def _problem(
    clause: Clause,
    places: list[int],
    matched: Sequence[list[int] | None],
    detections: Sequence[Detection],
    rules: Rules,
    colour_of: ColourOf,
) -> str:
    """What is wrong with the objects that are to fulfil a clause; empty if nothing."""
    name, count = clause.name, clause.count
    if len(places) < count:
        return f"expected {name}>={count}, found {len(places)}"
    if clause.colour is not None:
        seen = [colour_of(place) for place in places]
        if seen.count(clause.colour) < count:
            each = ", ".join(f"{seen.count(c)} {c}" for c in COLOURS if c in seen)
            right = f"{seen.count(clause.colour)} {clause.colour}"
            return f"expected {clause.colour} {name}>={count}, found {right}; and {each}"
    if clause.position is not None:
        relation, target = clause.position
        targets = matched[target]
        if targets is None:
            return f"no target for {name} to be {relation}"
        for place in places:
            for other in targets:
                true = relations(
                    detections[place].box, detections[other].box, rules.position_margin
                )
                if relation not in true:
                    return (
                        f"expected {name} {relation} target, found {' and '.join(sorted(true))} "
                        "target"
                    )
    return ""


def select(detections: Sequence[Detection], tag: str, rules: Rules) -> dict[str, list[int]]:
    """Places of the detections that count, best first, by class."""
    threshold = np.float32(rules.counting_threshold if tag == "counting" else rules.threshold)
    scores = np.array([detection.score for detection in detections], np.float32)
    selected: dict[str, list[int]] = {}
    for place in np.argsort(scores, kind="stable")[::-1]:
        if not scores[place] > threshold:  # Strictly above, as published.
            break
        selected.setdefault(detections[place].name, []).append(int(place))
    return {
        name: _apart(places[: rules.max_objects], detections, rules.max_overlap)
        for name, places in selected.items()
    }


def _apart(places: list[int], detections: Sequence[Detection], most: float) -> list[int]:
    """Without detections that overlap a better one by `most` or more; all of them where it is 1."""
    if most == 1:
        return places
    # Greedy, best first: each detection is compared with those that were kept, not with those that
    # were dropped, so that a chain of overlapping boxes does not lose its far end.
    kept: list[int] = []
    for place in places:
        box = detections[place].box
        if all(overlap(detections[better].box, box) < most for better in kept):
            kept.append(place)
    return kept


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes x0, y0, x1, y1 whose last pixels belong to them; 0 without an area."""
    shared = _area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = _area(*a[:4]) + _area(*b[:4]) - shared
    return shared / union if union else 0.0


def _area(x0: float, y0: float, x1: float, y1: float) -> float:
    return max(x1 - x0 + 1, 0) * max(y1 - y0 + 1, 0)


def relations(a: Sequence[float], b: Sequence[float], margin: float) -> set[str]:
    """Where object `a` lies seen from `b`: none, one, or two of the four relations.

    The offset of the centres is shortened by a share of both sizes, but divided by its own length
    as it was: objects that are near each other have no relation.
    """
    boxes: NDArray[np.float32] = np.array([a[:4], b[:4]], np.float32).reshape(2, 2, 2)
    centres = boxes.mean(axis=1)
    sizes = np.abs(boxes[:, 1] - boxes[:, 0]).sum(axis=0)
    offset = centres[0] - centres[1]
    reduced = np.sign(offset) * np.maximum(np.abs(offset) - np.float32(margin) * sizes, 0)
    if (np.abs(reduced) < _STILL).all():
        return set()  # Too near each other for any of the words.
    x, y = reduced / np.linalg.norm(offset)
    true = {
        "left of": x < -_DIRECTION,
        "right of": x > _DIRECTION,
        "above": y < -_DIRECTION,
        "below": y > _DIRECTION,
    }
    return {relation for relation, holds in true.items() if holds}
