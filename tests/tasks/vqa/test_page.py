from __future__ import annotations

from pathlib import Path

import pandas as pd
from PIL import Image

from tasks.vqa.page import CARDS, RIGHT, chosen, write_page
from tasks.vqa.suites import SUITES
from tests.reports.runs import write_run


def test_wrong_replies_of_every_category_come_first() -> None:
    states = [("a", False)] * 3 + [("b", True), ("b", False), ("c", None), ("a", True)]
    assert chosen(states) == [0, 4, 1, 2, 5, 3, 6]


def test_room_is_left_for_right_replies() -> None:
    states = [("", False)] * 1000 + [("", True)] * 1000
    places = chosen(states)
    assert len(places) == CARDS
    assert sum(place >= 1000 for place in places) == RIGHT


def test_page_shows_pictures_beside_questions(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30), "green").save(tmp_path / "images" / "000001-0.jpg")
    rows = pd.DataFrame(
        {
            "id": ["000000", "000001", "000002"],
            "status": ["ok", "ok", "model_error"],
            "error": ["", "", "RuntimeError: <b>broken</b>"],
            "score": [1.0, 0.0, None],
            "question": ["Is it red?", "Is it <i>green</i>?", None],
            "reply": ["yes", "\ufffdno", None],
            "answer": ["yes", "yes", None],
            "prediction": ["yes", "no", None],
            "category": ["random", "popular", None],
        }
    )
    run = write_run(tmp_path / "runs", "<b>llava</b>", task="pope")
    (run / "run.json").rename(tmp_path / "run.json")
    write_page(tmp_path, SUITES["pope"], rows)
    page = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert "<h1>&lt;b&gt;llava&lt;/b&gt; · POPE: 3 of 3 replies, 1 of all are right" in page
    places = [page.index(text) for text in ("green&lt;/i&gt;", "broken", "Is it red?")]
    assert places == sorted(places)
    assert "<i>green" not in page
    assert page.count("data:image/jpeg") == 1
    assert (tmp_path / "gallery" / "000.png").is_file()
