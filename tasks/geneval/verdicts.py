"""Verdicts as stored columns, from pictures that are looked at here or from detections alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from harness.interfaces import Columns
from harness.interfaces.errors import Unavailable
from tasks.geneval.colours import ColourClassifier, crop_object
from tasks.geneval.detector import Mask2Former
from tasks.geneval.evaluator import Detection, Verdict, evaluate
from tasks.geneval.prompts import Metadata
from tasks.geneval.settings import ElsewhereDetector, GenEvalSettings
from tasks.shared.text_to_image import DrawnImages, text_column

EXTRACTOR = "geneval_verdicts"


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture, judged."""

    metadata: Metadata
    detections: Sequence[Detection]
    verdict: Verdict


def to_columns(judged: Sequence[Judged]) -> dict[str, np.ndarray]:
    """Columns of B pictures.

    `correct` is 0 or 1, float64; `tag`, `prompt` and `reason` are texts; `metadata` and
    `detections` are JSON texts, the latter with what was kept for the verdict.
    """
    return {
        "correct": np.array([each.verdict.correct for each in judged], np.float64),
        "tag": text_column([each.metadata.tag for each in judged]),
        "prompt": text_column([each.metadata.prompt for each in judged]),
        "reason": text_column([each.verdict.reason for each in judged]),
        "metadata": text_column([each.metadata.source for each in judged]),
        "detections": text_column([_to_json(each.detections) for each in judged]),
    }


def _to_json(detections: Sequence[Detection]) -> str:
    rows = []
    for each in detections:
        row: dict[str, Any] = {"class": each.name, "box": list(each.box), "score": each.score}
        if each.colour is not None:
            row["color"] = each.colour
        rows.append(row)
    return json.dumps(rows)


class GenEvalVerdicts:
    """Detects the objects of every picture, classifies the colours that matter, and judges.

    Args:
        settings: The protocol's settings.
        device: Where the networks run.

    Raises:
        Unavailable: Weights are missing, or the protocol's detector runs elsewhere.
    """

    concurrent = True

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        if "rules" not in settings or "detector" not in settings:
            raise Unavailable("the protocol judges no pictures of GenEval", kind="not applicable")
        self._settings = GenEvalSettings.of(settings)
        chosen = self._settings.detector
        if isinstance(chosen, ElsewhereDetector):
            raise Unavailable(
                f"the protocol's detector, {chosen.network}, runs in an environment of its own: "
                "the pictures lie in the run's images/, see docs/geneval.md; or give "
                "--protocol geneval-hf"
            )
        self._detector = Mask2Former(chosen, device)
        self._colours = ColourClassifier(self._settings.colours, device)
        self.identity = {
            "version": 1,
            "weights": self._detector.weights_sha256,
            "colours": self._colours.weights_sha256,
        }
        """Digests of both networks' weights."""

    def observe(self, drawn: DrawnImages[Metadata]) -> Columns:
        """The columns of `to_columns`."""
        pairs = zip(drawn.images, drawn.drawings, strict=True)
        return to_columns([self._judge(image, drawing.about) for image, drawing in pairs])

    def _judge(self, image: np.ndarray, metadata: Metadata) -> Judged:
        rules = self._settings.rules
        found = self._detector(image, min(rules.threshold, rules.counting_threshold))
        picture = Image.fromarray(image)
        seen: dict[int, str] = {}

        def colour_of(place: int) -> str:
            each = found[place]
            if place not in seen:
                crop = crop_object(picture, each.box, each.mask)
                seen[place] = self._colours([crop], each.name)[0]
            return seen[place]

        plain = [Detection(each.name, each.box, each.score) for each in found]
        verdict = evaluate(metadata, plain, rules, colour_of)
        detections = [
            Detection(each.name, each.box, each.score, seen.get(place))
            for place, each in enumerate(plain)
        ]
        return Judged(metadata, detections, verdict)
