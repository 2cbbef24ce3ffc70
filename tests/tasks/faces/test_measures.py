"""How alike faces are, by the real networks where they are installed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from tasks.faces.measures import FaceMeasures, overlap
from tasks.faces.portraits import Portraits
from tasks.recon.marks import Mark, MarkedPairs
from tests.conftest import CommandLine

RULES = {"networks": "dlib", "enlarged": 1, "threshold": 0.2, "overlap": 0.3}
WIDE = "plain-124"


def portrait(name: str = WIDE) -> Image.Image:
    return Image.open(io.BytesIO(Portraits().read(name))).convert("RGB")


def test_boxes_overlap() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0


def test_views_are_squares_that_differ() -> None:
    source = Portraits()
    assert len(source.ids()) == 24
    assert len({source.read(name) for name in source.ids()}) == 24
    assert portrait("dark-022").size == (256, 256)


class TestRealNetworks:
    @pytest.fixture(autouse=True)
    def _there(self) -> None:
        pytest.importorskip("dlib")
        pytest.importorskip("face_recognition_models")

    def observed(
        self, original: Image.Image, coded: Image.Image, marks: list[Mark] | None = None
    ) -> dict[str, float]:
        nothing = torch.zeros(1)
        pixels = (np.asarray(image)[None] for image in (original, coded))
        pairs = MarkedPairs(nothing, nothing, *pixels, marks=[marks])
        columns = FaceMeasures({"faces": RULES}, "cpu").observe(pairs)
        return {name: float(values[0]) for name, values in columns.items()}

    def test_a_face_is_itself_and_a_blurred_one_less_so(self) -> None:
        image = portrait()
        same = self.observed(image, image)
        assert (same["faces"], same["faces_lost"], same["faces_same"]) == (1, 0, 1)
        assert same["face_similarity"] == pytest.approx(1)
        assert same["landmark_error"] == 0
        soft = self.observed(image, image.filter(ImageFilter.GaussianBlur(4)))
        gone = self.observed(image, image.filter(ImageFilter.GaussianBlur(24)))
        assert 1 > soft["face_similarity"] > gone["face_similarity"]
        assert soft["faces_lost"] == 0
        assert soft["landmark_error"] < gone["landmark_error"]

    def test_a_lost_face_counts_in_every_figure(self) -> None:
        image = portrait()
        gone = self.observed(image, Image.new("RGB", image.size, "grey"))
        assert (gone["faces"], gone["faces_lost"], gone["faces_same"]) == (1, 1, 0)
        assert gone["face_similarity"] < 0.95
        assert gone["landmark_error"] > 0.05
        assert gone["faces_80_up"] == 1

    def test_marked_faces_need_not_be_found(self) -> None:
        image = portrait("plain-062")
        nothing = Image.new("RGB", image.size, "grey")
        box = (97.0, 97.0, 159.0, 159.0)
        found = self.observed(image, nothing, [Mark(box=box)])
        assert (found["faces"], found["faces_56_80"]) == (1, 1)
        assert self.observed(image, nothing, [])["faces"] == 0

    def test_a_folder_gives_a_table(self, uwt_eval: CommandLine, tmp_path: Path) -> None:
        folder, out = tmp_path / "people", tmp_path / "runs"
        folder.mkdir()
        portrait().save(folder / "eileen.png")
        words = ("--model", "identity", "--model", "jpeg:600", "--data", folder, "--out", out)
        result = uwt_eval("run", "face-recon", *words)
        assert result.code == 0, result.err
        exact, crude = (
            json.loads(next(out.glob(f"*{name}*/record.json")).read_text())["metrics"]
            for name in ("identity", "jpeg")
        )
        assert exact["face_similarity"]["value"] == pytest.approx(1)
        assert crude["face_similarity"]["value"] < 0.98
        assert crude["faces_lost"]["higher_is_better"] is False
        figures = uwt_eval(
            "report", "figures", "face-size", "--runs", out, "--out", tmp_path / "figures"
        )
        assert figures.code == 0, figures.err
