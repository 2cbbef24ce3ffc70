"""Reading benchmarks' files, what is true of drawn scenes, and how answers are taken."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.interfaces import Marked
from harness.interfaces.errors import UserError
from harness.interfaces.registry import TASKS
from tasks.asked.genai import BENCHMARK as GENAI
from tasks.asked.geneval2 import BENCHMARK as GENEVAL2
from tasks.asked.marks import agreement, judged, score
from tasks.asked.scenes import SCENES, SIDE
from tasks.shared.asking import Answer, Query, open_answering
from tests.conftest import CommandLine
from tests.tasks.asked.conftest import ROWS, Bench


def test_a_count_is_right_in_the_published_spellings(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    (item,) = GENEVAL2.read(path)
    count, red = item.questions[:2]
    assert set(count.right) == {"two", "Two", " two", " Two", "2", " 2"}
    assert set(red.right) == {"Yes", "yes", " yes", " Yes"}
    assert (item.id, item.atoms) == ("00000", 4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt": " "}, "'prompt' must be a text"),
        ({"atom_count": True}, "'atom_count' must be a whole number"),
        ({"vqa_list": [["Is it?"]]}, "'vqa_list' must be a list of"),
        ({"skills": ["count"]}, "for each of 4 questions"),
        ({"skills": ["count", "attribute", "object", "charm"]}, "'skills' must name one of"),
    ],
)
def test_a_line_that_is_wrong_is_named(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(ROWS[1]) + "\n" + json.dumps({**ROWS[0], **change}))
    with pytest.raises(UserError, match=rf"data\.jsonl, line 2: .*{told}"):
        GENEVAL2.read(path)


def test_genai_bench_lacks_a_file_or_a_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"genai_image\.json cannot be read"):
        GENAI.read(tmp_path)
    (tmp_path / "genai_image.json").write_text('{"00000": {}}')
    (tmp_path / "genai_skills.json").write_text('{"basic": ["0"]}')
    with pytest.raises(UserError, match="'basic' must be a list of numbers"):
        GENAI.read(tmp_path)
    (tmp_path / "genai_skills.json").write_text("{}")
    with pytest.raises(UserError, match="'00000' must be a number, with a text at 'prompt'"):
        GENAI.read(tmp_path)


def test_what_is_asked_of_a_scene_is_true_of_it_and_not_of_the_others() -> None:
    for scene in SCENES:
        atoms = list(scene.atoms())
        assert all(scene.truth(atom) for atom in atoms)
        others = [other for other in SCENES if other is not scene]
        assert not any(all(other.truth(atom) for atom in atoms) for other in others)
    kites, circles = SCENES[3], list(SCENES[2].atoms())
    assert [kites.truth(atom) for atom in circles][-1] is False  # The other way up.
    assert SCENES[0].truth(circles[4]) is None  # The colour of squares where there are none.


def test_scenes_are_drawn_as_they_are_described() -> None:
    for scene in SCENES:
        pixels = scene.draw()
        assert pixels.shape == (SIDE, SIDE, 3)
        colours = {tuple(each) for each in pixels.reshape(-1, 3)[::7].tolist()}
        assert len(colours) == 1 + len(scene.groups)
    above, below = (np.asarray(SCENES[i].draw()) for i in (2, 3))
    green = np.array([20, 150, 50])
    assert (above[: SIDE // 2] == green).all(-1).any()
    assert not (above[SIDE // 2 :] == green).all(-1).any()
    assert (below[SIDE // 2 :] == green).all(-1).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("two", 1), (" Two.", 1), ("2", 1), ("There are two", 0), ("twofold", 0), ("three", 0)],
)
def test_the_first_word_is_a_hard_answer(text: str, expected: float) -> None:
    item = GENEVAL2.drawn("x", "y", list(SCENES[1].atoms()))
    assert score(Answer(text), item.questions[0], soft=False) == expected
    assert np.isnan(score(Answer(""), item.questions[0], soft=False))


def test_probabilities_are_added_in_the_order_of_the_spellings(
    bench: Bench,
) -> None:
    """In that of a set, which differs from process to process, last bits would differ too."""
    told = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.07, "no": 0.3}
    bench.endpoint.probabilities = lambda text, images: told
    settings = TASKS.get("geneval2").settings(TASKS.get("geneval2").protocol("geneval2-endpoint"))
    vqa = open_answering(settings.vqa, "cpu", soft=True)
    orders = list(itertools.permutations("abcd"))
    image = np.zeros((8, 8, 3), np.uint8)
    answers = vqa.ask([Query(image, "?", order) for order in orders])
    kept = {token: math.exp(math.log(each)) for token, each in told.items()}
    sums = [sum(kept[token] for token in order) for order in orders]
    assert len(set(sums)) > 1
    assert [answer.probability for answer in answers] == sums


class Oracle:
    """Is as sure as it is told to be, of everything."""

    identity: ClassVar[dict[str, Any]] = {}
    works_on = "device"

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def preflight(self) -> None:
        pass

    def ask(self, queries: list[Query]) -> list[Answer]:
        return [Answer("x", self._probability)] * len(queries)


@pytest.mark.parametrize("benchmark", [GENEVAL2, GENAI])
@pytest.mark.parametrize("probability", [0.0, 0.99])
def test_who_always_says_the_same_is_right_about_half(benchmark: Any, probability: float) -> None:
    share, marks = agreement(judged(benchmark, Oracle(probability), soft=True))
    assert share == 0.5
    assert marks >= 16


def test_agreement_is_of_those_that_were_answered() -> None:
    nan = float("nan")
    marks = [Marked("a", True, 0.7), Marked("a", False, 0.7), Marked("a", True, nan)]
    assert agreement(marks) == (0.5, 2)
    assert np.isnan(agreement(marks[2:])[0])


def test_calibrate_takes_images_or_a_judge(uwt_eval: CommandLine) -> None:
    for words in ((), ("somewhere", "--judge", "geneval2")):
        result = uwt_eval("calibrate", *words)
        assert result.code == 2
        assert "give images to check metrics by, or --judge" in result.err.replace("\n", " ")
    result = uwt_eval("calibrate", "--judge", "geneval")
    told = result.err.replace("\n", " ")
    assert "has no judge that marks can check; those that have: dpg, genai-bench, geneval2" in told
    result = uwt_eval("calibrate", "--judge", "dpg")
    assert "give --protocol dpg-vlm" in result.err.replace("\n", " ")
