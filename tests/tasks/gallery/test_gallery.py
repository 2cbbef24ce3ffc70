from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.interfaces.errors import plain
from tasks.gallery import Box, Card, Shot, Verdict, write_gallery

NASTY = '</article><script>alert(1)</script> "quoted" & **bold** | `code` \x00 \u202eevil {{ 7*7 }}'


class Elements(HTMLParser):
    """Tags in order, and all text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in {"script", "style"}:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.full((100, 200, 3), 200, np.uint8)).save(path)
    return path


def card(path: Path, good: bool | None = True, **changes: object) -> Card:
    values: dict[str, object] = {
        "id": "0",
        "title": "two clocks",
        "pictures": [Shot(path)],
        "verdict": Verdict("right", good),
    }
    return Card(**{**values, **changes})  # type: ignore[arg-type]


def read(root: Path) -> Elements:
    return Elements((root / "gallery.html").read_text(encoding="utf-8"))


def test_a_page_holds_its_pictures_and_points_nowhere(tmp_path: Path, picture: Path) -> None:
    write_gallery(tmp_path, "GenEval", [card(picture)])
    page = read(tmp_path)
    (image,) = page.all("img")
    assert (image["src"] or "").startswith("data:image/jpeg;base64,")
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)


def test_nothing_that_others_wrote_becomes_markup(tmp_path: Path, picture: Path) -> None:
    nasty = card(
        picture,
        id=NASTY,
        title=NASTY,
        verdict=Verdict(NASTY, True, NASTY + "\udcff", NASTY),
        pictures=[Shot(picture, NASTY, [Box(NASTY, (1, 1, 50, 50))])],
    )
    write_gallery(tmp_path, NASTY, [nasty])
    page = read(tmp_path)
    assert len(page.all("script")) == 1
    assert len(page.all("article")) == 1
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert page.all("article")[0]["data-group"] == plain(NASTY)


def test_states_are_counted_and_marked(tmp_path: Path, picture: Path) -> None:
    cards = [card(picture, good=good) for good in (True, False, False, None)]
    write_gallery(tmp_path, "t", cards)
    page = read(tmp_path)
    classes = [article["class"] for article in page.all("article")]
    assert classes == ["right", "wrong", "wrong", "open"]
    for label in ("all 4", "wrong 2", "right 1", "not judged 1"):
        assert label in page.text


def test_boxes_lie_in_the_files_own_pixels(tmp_path: Path, picture: Path) -> None:
    boxes = [Box("in", (20, 10, 120, 60), good=False), Box("out", (300, 10, 400, 60))]
    write_gallery(tmp_path, "t", [card(picture, pictures=[Shot(picture, boxes=boxes)])])
    page = read(tmp_path)
    (rectangle,) = page.all("rect")
    assert [rectangle[key] for key in ("x", "y", "width", "height")] == ["20", "10", "100", "50"]
    assert page.all("svg")[0]["viewbox"] == "0 0 200 100"
    sheet = np.asarray(Image.open(tmp_path / "gallery" / "000.png").convert("RGB")).astype(int)
    red = (abs(sheet - [0xC6, 0x28, 0x28]).max(-1) < 30).nonzero()
    # A sheet's picture is 224 wide, of 200: the box begins at 20 and ends at 120 of those.
    assert abs(red[1].min() - (6 + 20 * 1.12)) <= 2
    assert abs(red[1].max() - (6 + 120 * 1.12)) <= 2


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((-5, -5, 10, 10), (0, 0, 10, 10)),
        ((90, 40, 300, 300), (90, 40, 100, 50)),
        ((200, 0, 300, 10), None),
        ((20, 20, 10, 10), None),
        ((float("nan"), 0, 10, 10), None),
        ((0, 0, float("inf"), 10), None),
    ],
)
def test_only_what_lies_within_the_picture_is_drawn(
    corners: tuple[float, float, float, float], expected: tuple[float, ...] | None
) -> None:
    assert Box("x", corners).within(100, 50) == expected


def test_pictures_that_are_missing_or_damaged_are_shown_as_such(
    tmp_path: Path, picture: Path
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(picture.read_bytes()[:60])
    shots = [Shot(tmp_path / "nowhere.png"), Shot(damaged), Shot(picture)]
    write_gallery(tmp_path, "t", [card(picture, pictures=shots)])
    page = read(tmp_path)
    assert page.text.count("picture missing") == 2
    assert len(page.all("img")) == 1


def test_a_smaller_gallery_leaves_no_sheet_of_a_larger_one(tmp_path: Path, picture: Path) -> None:
    write_gallery(tmp_path, "t", [card(picture) for _ in range(100)])
    assert [path.name for path in sorted((tmp_path / "gallery").iterdir())] == [
        "000.png",
        "001.png",
        "002.png",
    ]
    write_gallery(tmp_path, "t", [card(picture)])
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == ["000.png"]


def test_without_cards_nothing_is_written(tmp_path: Path) -> None:
    write_gallery(tmp_path, "t", [])
    assert list(tmp_path.iterdir()) == []


def test_cards_without_pictures_are_on_the_page_alone(tmp_path: Path, picture: Path) -> None:
    write_gallery(tmp_path, "t", [card(picture, pictures=[])])
    assert len(read(tmp_path).all("article")) == 1
    assert not (tmp_path / "gallery").exists()
