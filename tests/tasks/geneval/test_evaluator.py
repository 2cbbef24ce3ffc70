"""The evaluator against results of the official code, case by case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.geneval.colours import crop_object
from tasks.geneval.evaluator import Detection, evaluate, overlap, relations, select
from tasks.geneval.prompts import COLOUR_TEMPLATES, COLOURS, parse_metadata
from tasks.geneval.settings import Rules
from tasks.geneval.task import GENEVAL

FOLDER = Path(__file__).parent
CASES = [json.loads(line) for line in (FOLDER / "evaluate.jsonl").read_text().splitlines()]
UNITS = json.loads((FOLDER / "units.json").read_text())
RULES = Rules.model_validate(GENEVAL.protocol("geneval").settings["rules"])
OPTIONS = {"max_overlap": "max_overlap", "position_threshold": "position_margin"}


def test_there_are_all_cases() -> None:
    assert len(CASES) == 44


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case_of_the_official_code(case: dict[str, Any]) -> None:
    options = {OPTIONS[name]: value for name, value in case.get("options", {}).items()}
    rules = RULES.model_copy(update=options)
    metadata = parse_metadata(case["metadata"], case["name"])
    detections = [
        Detection(each["class"], tuple(each["box"]), each["score"], each.get("color"))
        for each in case["detections"]
    ]
    colours = [each.colour or "" for each in detections]
    verdict = evaluate(metadata, detections, rules, lambda place: colours[place])
    assert verdict.correct == case["expected"]["correct"]
    assert verdict.reason == case["expected"]["reason"]
    kept = {
        name: [[*detections[i].box, float(np.float32(detections[i].score))] for i in places]
        for name, places in select(detections, metadata.tag, rules).items()
    }
    assert kept == case["expected"]["details"]


@pytest.mark.parametrize("unit", UNITS["relative_position"])
def test_relations(unit: dict[str, Any]) -> None:
    assert relations(unit["a"], unit["b"], unit["threshold"]) == set(unit["relations"])


@pytest.mark.parametrize("unit", UNITS["compute_iou"])
def test_overlap(unit: dict[str, Any]) -> None:
    assert overlap(unit["a"], unit["b"]) == pytest.approx(unit["iou"], abs=1e-12)


@pytest.mark.parametrize("unit", UNITS["crops"], ids=lambda unit: unit["name"])
def test_crop(unit: dict[str, Any]) -> None:
    image = Image.fromarray(np.array(UNITS["image_rgb"], np.uint8))
    mask = None if unit["mask"] is None else np.array(unit["mask"], bool)
    crop = crop_object(image, unit["box"], mask)
    assert np.array_equal(np.asarray(crop), np.array(unit["crop"]))


def test_words_of_the_colour_classifier() -> None:
    published = [text.replace("classname", "name") for text in UNITS["color_templates"]]
    assert [text.replace("colour}", "c}") for text in COLOUR_TEMPLATES] == published
    assert list(COLOURS) == UNITS["colors"]


def test_colours_are_asked_of_the_best_objects_only() -> None:
    metadata = parse_metadata(
        {"tag": "colors", "prompt": "x", "include": [{"class": "car", "count": 1, "color": "red"}]},
        "here",
    )
    scores = (0.2, 0.5, 0.9)
    detections = [Detection("car", (0, 0, 9, 9), score) for score in scores]
    asked: list[int] = []

    def colour_of(place: int) -> str:
        asked.append(place)
        return "red"

    assert evaluate(metadata, detections, RULES, colour_of).correct
    assert asked == [2]
