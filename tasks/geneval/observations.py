"""Detections made elsewhere, or the published script's verdicts: a JSON object a line and picture.

```
{"filename": "00000/samples/0000.png", "metadata": {…}, "detector": "…", "weights": "…",
 "detections": [{"class": "dog", "box": [x0, y0, x1, y1], "score": 0.97, "color": "brown"}]}
```

`detector` and `weights` say which network it was; `color` is needed of those objects only that a
prompt's colour is asked of.

The published `evaluate_images.py` writes `results.jsonl`, with `correct`, `reason`, and JSON texts
`metadata` and `details`. Its verdicts are taken as they stand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.digests import verified_sha256
from harness.interfaces import ObservedRows
from harness.interfaces.errors import SampleFailure, UserError
from harness.interfaces.types import Status
from tasks.geneval.data import as_prompt
from tasks.geneval.evaluator import Detection, Verdict, evaluate
from tasks.geneval.prompts import (
    Metadata,
    check_class,
    check_colour,
    parse_metadata,
    partial_notice,
)
from tasks.geneval.settings import Detector, ElsewhereDetector, GenEvalSettings
from tasks.geneval.verdicts import EXTRACTOR, Judged, to_columns
from tasks.shared.jsonl import read_objects
from tasks.shared.text_to_image import samples_of

_NAME = re.compile(r"(?:.*/)?(\d+)/samples/(\d+)\.\w+")
_FIELDS = ("filename", "metadata", "detections")
_NUMBERS = frozenset((int, float))
"""Types of JSON numbers; a `bool` is none."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One picture of the file."""

    where: str
    prompt: int
    number: int
    metadata: Metadata
    detections: Sequence[Detection]
    weights: str
    """What it says of the detector's."""
    verdict: Verdict | None = None
    """The published script's."""


def read_observations(path: Path, settings: GenEvalSettings) -> ObservedRows:
    """Judge every picture of a file.

    A prompt of the file that lacks pictures has missing samples for them. Prompts that the file
    has no picture of cannot be told from ones that were not asked for: a notice gives their number.

    Raises:
        UserError: A line is not as it should be, or the detector is another than the protocol's.
    """
    lines: dict[tuple[int, int], _Line] = {}
    first: _Line | None = None
    for line in _read(path, settings.detector):
        first = first or line
        if first.weights != line.weights:
            raise UserError(
                f"{line.where}: detector weights {line.weights[:12]!r}, in the lines before "
                f"{first.weights[:12]!r}: scores of two detectors do not compare"
            )
        place = line.prompt, line.number
        if place in lines:
            raise UserError(
                f"{line.where}: picture {line.number} of prompt {line.prompt} again, after "
                f"{lines[place].where}"
            )
        if line.number >= settings.images_per_prompt:
            raise UserError(
                f"{line.where}: picture {line.number} of prompt {line.prompt}; the protocol has "
                f"{settings.images_per_prompt} pictures a prompt, numbered from 0"
            )
        lines[place] = line
    if first is None:
        raise UserError(f"{path} has no pictures")
    prompts = _prompts(lines.values())
    places = [(p, n) for p in prompts for n in range(settings.images_per_prompt)]
    outcomes = [_outcome(lines.get(place), prompts[place[0]], settings) for place in places]
    identity = {"version": 1, "file": verified_sha256(path), "weights": first.weights}
    return ObservedRows(
        samples=samples_of((as_prompt(place, prompts[place]), number) for place, number in places),
        statuses=[status for _, status, _ in outcomes],
        errors=[error for _, _, error in outcomes],
        columns={EXTRACTOR: to_columns([judged for judged, _, _ in outcomes])},
        identities={EXTRACTOR: identity},
        label=f"{path.name}, {settings.detector.network}",
        notice=partial_notice(len(prompts)),
        judged_elsewhere=any(line.verdict for line in lines.values()),
    )


def _outcome(
    line: _Line | None, metadata: Metadata, settings: GenEvalSettings
) -> tuple[Judged, Status, str]:
    failed = Judged(metadata, (), Verdict(False, ""))
    if line is None:
        return failed, Status.MISSING, "the file has no line for this picture"
    if line.verdict is not None:
        return Judged(metadata, line.detections, line.verdict), Status.OK, ""

    def colour_of(place: int) -> str:
        each = line.detections[place]
        if each.colour is None:
            raise SampleFailure(
                Status.MISSING, f"{line.where}: no color of the {each.name} that it is asked of"
            )
        return each.colour

    try:
        verdict = evaluate(metadata, line.detections, settings.rules, colour_of)
    except SampleFailure as failure:
        return failed, failure.status, str(failure)
    return Judged(metadata, line.detections, verdict), Status.OK, ""


def _prompts(lines: Iterable[_Line]) -> dict[int, Metadata]:
    """What every prompt asks for, in order; raise `UserError` where its pictures disagree."""
    first: dict[int, _Line] = {}
    for line in sorted(lines, key=lambda each: (each.prompt, each.number)):
        known = first.setdefault(line.prompt, line)
        if known.metadata.source != line.metadata.source:
            raise UserError(
                f"{line.where}: other metadata of prompt {line.prompt} than {known.where}"
            )
    return {prompt: line.metadata for prompt, line in first.items()}


def _read(path: Path, detector: Detector) -> Iterator[_Line]:
    metadata: dict[str, Metadata] = {}
    for where, record in read_objects(path):
        verdict = None
        if "details" in record:
            verdict = _unpack(record, where)
        for field in _FIELDS:
            if field not in record:
                raise UserError(f"{where}: no {field!r}; a picture has {', '.join(_FIELDS)}")
        weights = _check_origin(record, detector, where)
        named = _NAME.fullmatch(str(record["filename"]))
        if named is None:
            raise UserError(
                f"{where}: 'filename' is {record['filename']!r}, expected "
                "'PROMPT/samples/NUMBER.png' as in '00000/samples/0000.png'"
            )
        if not isinstance(record["metadata"], dict) or not isinstance(record["detections"], list):
            raise UserError(f"{where}: 'metadata' must be an object and 'detections' a list")
        # The same four times over: a prompt's pictures share it.
        key = repr(record["metadata"])
        if key not in metadata:
            metadata[key] = parse_metadata(record["metadata"], where)
        detections = [
            _detection(each, where, place) for place, each in enumerate(record["detections"])
        ]
        number = int(named[2])
        yield _Line(where, int(named[1]), number, metadata[key], detections, weights, verdict)


def _unpack(record: dict[str, Any], where: str) -> Verdict:
    """The verdict of a line of `results.jsonl`, whose texts of JSON become our fields."""
    correct, reason = record.get("correct"), record.get("reason")
    if not isinstance(correct, bool) or not isinstance(reason, str):
        raise UserError(f"{where}: 'correct' must be true or false, and 'reason' a text")
    try:
        record["metadata"] = json.loads(record["metadata"])
        record["detections"] = [
            {"class": name, "box": found[:4], "score": found[4]}
            for name, boxes in json.loads(record["details"]).items()
            for found in boxes
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{where}: 'metadata' and 'details' are no JSON texts as GenEval's script writes them "
            f"({error})"
        ) from error
    return Verdict(correct, reason)


def _check_origin(record: Mapping[str, Any], detector: Detector, where: str) -> str:
    """Weights that a line names; raise `UserError` where they are not the protocol's."""
    network, weights = record.get("detector"), str(record.get("weights", ""))
    if network is None and isinstance(detector, ElsewhereDetector):
        return weights
    other = weights != "" and not weights.startswith(detector.weights)
    if network != detector.network or other:
        said = "names no detector" if network is None else f"comes from {network} {weights[:12]}"
        raise UserError(
            f"{where}: {said.strip()}; the protocol's detector is {detector.network} "
            f"{detector.weights[:12]}".strip()
            + ": give another --protocol, scores of two detectors do not compare"
        )
    return weights


def _detection(record: Any, where: str, place: int) -> Detection:
    where = f"{where}, detections[{place}]"
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {record!r}")
    name, box, score = (record.get(field, "") for field in ("class", "box", "score"))
    check_class(name, where)
    if type(score) not in _NUMBERS or not 0 <= score <= 1:
        raise UserError(f"{where}: 'score' must be a number from 0 to 1, found {score!r}")
    if not isinstance(box, list) or len(box) != 4 or not _NUMBERS.issuperset(map(type, box)):
        raise UserError(f"{where}: 'box' must be four numbers x0, y0, x1, y1, found {box!r}")
    x0, y0, x1, y1 = map(float, box)
    if not math.isfinite(x0 + y0 + x1 + y1):
        raise UserError(f"{where}: 'box' {box} has edges that are no numbers")
    if min(x0, y0) < 0 or x1 < x0 or y1 < y0:
        raise UserError(
            f"{where}: box {box} lies outside the picture or has its corners the wrong way round; "
            "expected 0 <= x0 <= x1 and 0 <= y0 <= y1 in pixels"
        )
    colour = record.get("color")
    if colour is not None:
        check_colour(colour, where)
    return Detection(str(name), (x0, y0, x1, y1), float(score), colour)
