"""What is read of text: distances against a peer, real readings of real reconstructions."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from tasks.recon.marks import Mark, MarkedPairs
from tasks.text.reading import TextReadings, edits, plain
from tasks.text.rendered import RenderedText
from tests.conftest import CommandLine

SETTINGS = {"text": {"recogniser": "pp-ocrv6-small", "place": "original"}}
CRUDE = "jpeg:400"
TEXTS = st.text(st.sampled_from("aab 北京é"), max_size=12)


def page(name: str) -> tuple[np.ndarray, list[Mark]]:
    source = RenderedText()
    pixels = np.asarray(Image.open(io.BytesIO(source.read(name))).convert("RGB"))
    return pixels, source.marks()[name]


def pairs(original: np.ndarray, coded: np.ndarray, marks: list[Mark] | None) -> MarkedPairs:
    nothing = torch.zeros(1)
    return MarkedPairs(nothing, nothing, original[None], coded[None], marks=[marks])


@pytest.mark.parity
@settings(max_examples=40)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_character_errors_are_torchmetrics(lines: list[tuple[str, str]]) -> None:
    from torchmetrics.text import CharErrorRate

    references = [reference for reference, _ in lines]
    if not any(references):
        return
    peer = float(CharErrorRate()([read for _, read in lines], references))
    ours = sum(edits(*line) for line in lines) / sum(map(len, references))
    assert ours == pytest.approx(peer, rel=1e-6)


def test_white_space_is_one_space() -> None:
    assert plain(" two\u3000words\n") == "two words"


def test_other_scripts_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.text.rendered.asian_fonts", lambda: None)
    source = RenderedText()
    assert {name.split("-")[0] for name in source.ids()} == {"latin"}
    assert "uwt-eval[text]" in source.notice


def test_lines_lie_in_their_boxes() -> None:
    source = RenderedText()
    for name, marks in source.marks().items():
        assert len(marks) == 2, name
        for mark in marks:
            assert mark.text
            assert mark.box is not None
            assert min(mark.box) >= 0
            assert max(mark.box) <= 256
    upper, lower = (mark.box for mark in source.marks()["latin-DejaVuSerif-22"])
    assert upper is not None
    assert lower is not None
    assert upper[3] <= lower[1]


class TestRealRecogniser:
    @pytest.fixture(autouse=True)
    def _there(self) -> None:
        pytest.importorskip("rapidocr")
        pytest.importorskip("onnxruntime")

    def observed(self, *arguments: Any) -> dict[str, float]:
        columns = TextReadings(SETTINGS, "cpu").observe(pairs(*arguments))
        return {name: float(values[0]) for name, values in columns.items()}

    def test_a_whole_page_is_read_and_a_spoilt_line_is_not(self) -> None:
        original, marks = page("latin-DejaVuSans-22")
        spoilt = original.copy()
        assert marks[0].box is not None
        spoilt[: int(marks[0].box[3]) + 2] = 128
        found = self.observed(original, spoilt, marks)
        assert found["edits_original"] == 0
        assert found["lines"] == 2
        # Of what is gone no character is read, of the other all.
        assert found["edits"] == len(marks[0].text)
        assert found["words_right"] == len(marks[1].text.split())
        assert found["characters"] == sum(len(mark.text) for mark in marks)
        by_height = sum(value for name, value in found.items() if name.startswith("characters_"))
        assert by_height == found["characters"]

    def test_chinese_and_japanese(self) -> None:
        pytest.importorskip("pylopdf_fonts_zh_cn")
        for name in ("chinese-NotoSerif-16", "japanese-NotoSans-12"):
            original, marks = page(name)
            assert self.observed(original, original, marks)["edits"] == 0

    def test_without_marks_the_original_is_the_reference(self) -> None:
        original, marks = page("latin-DejaVuSans-30")
        found = self.observed(original, original, None)
        assert found["edits"] == found["edits_original"] == 0
        assert found["characters"] == sum(len(mark.text) for mark in marks)

    def test_without_a_text_it_is_what_is_read_on_the_original(self) -> None:
        original, marks = page("latin-DejaVuSans-30")
        found = self.observed(original, original, [Mark(box=marks[0].box)])
        assert found["characters"] == len(marks[0].text)
        assert found["edits"] == 0

    def test_without_boxes_lines_are_found(self) -> None:
        original, marks = page("latin-DejaVuSans-30")
        said = Mark(" ".join(mark.text for mark in marks))
        assert self.observed(original, original, [said])["edits"] == 0

    def test_a_folder_with_transcripts_gives_a_table(
        self, uwt_eval: CommandLine, tmp_path: Path
    ) -> None:
        folder = tmp_path / "signs"
        folder.mkdir()
        lines = []
        for name in ("latin-DejaVuSans-22", "latin-DejaVuSerif-30"):
            original, marks = page(name)
            Image.fromarray(original).save(folder / f"{name}.png")
            lines += [{"file": f"{name}.png", "text": mark.text, "box": mark.box} for mark in marks]
        path = folder / "transcripts.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        models = ("--model", "identity", "--model", CRUDE)
        out = tmp_path / "runs"
        result = uwt_eval("run", "text-recon", *models, "--data", folder, "--out", out)
        assert result.code == 0, result.err
        exact, crude = (
            json.loads(next(out.glob(f"*{name}*/record.json")).read_text())["metrics"]
            for name in ("identity", "jpeg")
        )
        assert exact["cer"]["value"] == 0
        assert exact["words"]["value"] == 1
        assert crude["cer"]["value"] > 0.1
        assert crude["cer_original"]["value"] == 0
        assert crude["cer"]["higher_is_better"] is False
        figures = uwt_eval(
            "report", "figures", "text-height", "--runs", out, "--out", tmp_path / "figures"
        )
        assert figures.code == 0, figures.err
