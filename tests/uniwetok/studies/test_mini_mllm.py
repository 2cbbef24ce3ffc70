"""The small proof: pictures and records are right, shares are counted, it runs and goes on."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CommandLine
from uniwetok.nano import WEIGHTS
from uniwetok.studies.mllm import proof
from uniwetok.studies.mllm.measure import CAPTIONS, EMPTY, Neighbours, Share, ceiling
from uniwetok.studies.mllm.proof import prove
from uniwetok.studies.mllm.records import write_records
from uniwetok.studies.mllm.settings import MiniMLLMSettings
from uniwetok.studies.mllm.shapes import COLOURS, SHAPES, SIDE, EasyVqa, Question, Shape, _told
from uniwetok.tokenizer import UniWeTok
from uniwetok.train import TrainingError
from uniwetok.train.mllm.data.check import check_records
from uniwetok.train.mllm.data.opening import open_records
from uniwetok.train.mllm.data.sizes import SizeRule

pytest.importorskip("easy_vqa")
FEW = 12


class FewPictures(EasyVqa):
    """The first pictures alone, so that nothing takes long."""

    @cached_property
    def pictures(self) -> dict[int, Shape]:
        chosen = [n for n, (c, s) in sorted(self._labels.items()) if c and s][:FEW]
        self._labels = {number: self._labels[number] for number in chosen}
        return dict(super().pictures)


@pytest.fixture(scope="module")
def data() -> EasyVqa:
    return FewPictures("test")


@pytest.mark.parametrize(
    ("text", "answer", "word"),
    [
        ("what color is the shape?", "teal", "teal"),
        ("is there a red shape?", "yes", "red"),
        ("is there a red shape?", "no", ""),
        ("is there not a circle?", "no", "circle"),
        ("is there not a circle?", "yes", ""),
        ("is no blue shape present?", "no", "blue"),
    ],
)
def test_labels_follow_from_questions(text: str, answer: str, word: str) -> None:
    assert _told(Question(text, answer, 0)) == word


def test_pictures_show_their_shape_in_its_colour(data: EasyVqa) -> None:
    assert len(data.pictures) == FEW
    for shape in data.pictures.values():
        assert shape.pixels.shape == (SIDE, SIDE, 3)
        middle = shape.pixels[SIDE // 2, SIDE // 2].astype(int)
        assert np.abs(middle - COLOURS[shape.colour]).max() <= 2
        assert (shape.pixels[0, 0] == shape.background).all()
        painted = shape.recoloured("red")
        assert np.abs(painted[SIDE // 2, SIDE // 2].astype(int) - (255, 0, 0)).max() <= 6
        assert (painted[0, 0] == shape.background).all()
        assert (shape.removed() == shape.background).all()
        own = shape.recoloured(shape.colour).astype(int)
        assert np.abs(own - shape.pixels).mean() < 3


def test_records_pass_the_check(data: EasyVqa, tmp_path: Path) -> None:
    report = check_records(open_records(write_records(data, tmp_path, 0)), SizeRule(), most=5)
    assert report.ok, report.findings
    assert report.kinds == {"chat": 3 * FEW, "edit": 2 * FEW, "text-image": FEW}


def test_neighbours_name_pictures(data: EasyVqa) -> None:
    shapes = list(data.pictures.values())
    neighbours = Neighbours(shapes, UniWeTok.from_checkpoint(WEIGHTS))
    assert neighbours.name(neighbours.rebuilt) == [shape.caption for shape in shapes]
    assert set(neighbours.name([shape.removed() for shape in shapes])) == {EMPTY}
    assert len(CAPTIONS) == len(COLOURS) * len(SHAPES) == 24
    left = neighbours.name(neighbours.rebuilt, own=True)
    assert left != neighbours.name(neighbours.rebuilt)
    assert ceiling(neighbours).right == sum(
        name == shape.caption for name, shape in zip(left, shapes, strict=True)
    )


def test_shares_have_intervals() -> None:
    share = Share(task="t", name="n", right=50, trials=100, chance=0.3, against="a")
    low, high = share.interval
    assert (low, high) == (pytest.approx(0.4038, abs=1e-3), pytest.approx(0.5962, abs=1e-3))
    assert share.above
    assert not dataclasses.replace(share, right=33).above


@pytest.mark.slow
def test_a_tiny_proof_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "EasyVqa", FewPictures)
    settings = MiniMLLMSettings(tokenizer_steps=2, steps=2, questions=4, drawings=1, edits=2)
    steps: list[str] = []
    result = prove(settings, tmp_path, on_step=lambda name, *_: steps.append(name))
    assert list(dict.fromkeys(steps)) == ["tokenizer", "codes", "model", "measurement"]
    trials = {(share.task, share.name): share.trials for share in result.shares}
    assert trials["answers", "all"] == 4
    assert trials["drawings", "caption"] == 24
    assert trials["edits", "recolour"] == trials["edits", "remove"] == 2
    assert trials["real pictures", "caption"] == FEW
    kept = json.loads((tmp_path / "result.json").read_text())
    assert [share["value"] for share in kept["shares"]] == [s.value for s in result.shares]
    for name in ("drawings", "edits", "reconstructions"):
        assert (tmp_path / "pictures" / f"{name}.png").is_file()
    again = prove(settings, tmp_path)
    assert again.shares == result.shares
    with pytest.raises(TrainingError, match="holds a proof with other settings"):
        prove(dataclasses.replace(settings, steps=3), tmp_path)


def test_the_package_is_named_where_it_is_missing(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = uwt_eval("reproduce", "mini-mllm", "--out", str(tmp_path / "out"))
    assert result.code == 2
    assert 'pip install "uwt-eval[mini]"' in result.err


def test_the_document_tells_the_defaults() -> None:
    text = (Path(__file__).parents[3] / "docs" / "mini.md").read_text(encoding="utf-8")
    settings = MiniMLLMSettings()
    assert f"finetuned for {settings.tokenizer_steps:,} steps of 4 pictures" in text
    assert f"{settings.steps:,} rows of 512 tokens" in text
    assert f"**edits**: {settings.edits} held-out pictures each" in text
