"""Drawings as replies: seeded by what is asked, kept, drawn again where they are gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure
from tasks.shared.networks import LazyModel
from tasks.vqa.asking import Asked, Asker
from tasks.vqa.drawing import Draughtsman, drawn_in, placed
from tasks.vqa.replies import Journal
from tests.tasks.painter import SIDE, Painter


class Mirror(Painter):
    """Edits by mirroring nothing: it draws, of the picture's first pixel too."""

    def edit(self, instructions: Any, images: Any, seeds: Any) -> Any:
        return self.generate([f"{images[0][0, 0]}{instructions[0]}"], seeds)


def artist(root: Path, painted: list[str], seed: int = 0, refuses: str = "") -> Draughtsman:
    model = Mirror(painted, refuses)
    return Draughtsman(LazyModel(model, "cpu", model.card), root, seed)


def paths(replies: list[str]) -> list[str]:
    return [name for reply in replies for name in json.loads(reply)["images"]]


def test_a_reply_names_a_picture_of_the_prompt_and_the_seed(tmp_path: Path) -> None:
    painted: list[str] = []
    asked = [Question("a cat"), Question("a dog"), Question("a cat")]
    replies = artist(tmp_path, painted).reply(asked, max_new_tokens=8)
    first, second, again = paths(replies)  # type: ignore[arg-type]
    assert first == again != second
    assert painted == ["a cat", "a dog", "a cat"]
    (picture,) = drawn_in(str(replies[0]), tmp_path)
    assert picture.size == (SIDE, SIDE)
    assert json.loads(placed(str(replies[0]), tmp_path))["images"] == [str(tmp_path / first)]
    (other,) = artist(tmp_path, [], seed=1).reply(asked[:1], max_new_tokens=8)
    assert paths([str(other)]) != [first]
    alone = artist(tmp_path / "alone", []).reply(asked[1:2], max_new_tokens=8)
    kept = [np.asarray(Image.open(root / second)) for root in (tmp_path, tmp_path / "alone")]
    assert paths([str(alone[0])]) == [second]
    assert (kept[0] == kept[1]).all()


def test_pictures_are_edited_one_at_a_time(tmp_path: Path) -> None:
    dark, bright = (np.full((8, 9, 3), level, np.uint8) for level in (0, 255))
    asked = [Question("up", [dark]), Question("up", [bright]), Question("up", [dark, bright])]
    *edited, refused = artist(tmp_path, []).reply(asked, max_new_tokens=8)
    assert len(set(paths([str(each) for each in edited]))) == 2
    assert isinstance(refused, SampleFailure)
    assert "2 pictures" in str(refused)


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_drawn_is_not_drawn_again_unless_it_is_gone(tmp_path: Path, lost: bool) -> None:
    painted: list[str] = []
    asked = [Asked(text, list, 8) for text in ("a cat", "a dog", "a hat")]

    def ask(refuses: str = "") -> Any:
        model = artist(tmp_path, painted, refuses=refuses)
        journal = Journal(tmp_path / "journal.jsonl", keeps=model.keeps)
        return Asker(model, batch_size=2, reply_limit=4096, journal=journal).ask(asked)  # type: ignore[arg-type]

    first = ask("dog")
    assert [each.status.value for _, each in sorted(first.items())] == ["ok", "model_error", "ok"]
    if lost:
        (tmp_path / paths([first[0].reply])[0]).unlink()
    painted.clear()
    second = ask()
    assert painted == (["a cat", "a dog"] if lost else ["a dog"])
    assert second[0].reply == first[0].reply
    assert all((tmp_path / name).is_file() for name in paths([a.reply for a in second.values()]))
