"""Classes by file name: the rule, the table, the sorted folder, and what ships of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.nano import classes
from benchmarks.nano.classes import assign, photo_name, read_table, sort_photos
from tasks.gen.task import IMAGENET_GEN
from uniwetok.nano import AR_WEIGHTS
from uniwetok.presets import get_ar
from uniwetok.train.data.opening import open_images

DOCUMENT = Path(__file__).parents[3] / "docs" / "nano.md"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("bee-49e568", "bee"),
        ("fish12-a0889d", "fish"),
        ("grand-canyon-1-e01543", "grand-canyon"),
        ("fanoewindmill-background-049a7e", "fanoewindmill"),
        ("background-9e7d23", "background"),
        ("aitzgorri-by-aitzol-berasategi-9dbf57", "aitzgorri"),
        ("aitzgorri-by-aitzol-berasategi-9dbf57-d00", None),
        ("0-48bcc5", ""),
    ],
)
def test_the_name_of_a_photograph(stem: str, name: str | None) -> None:
    assert photo_name(stem) == name


def test_a_name_is_of_one_class_and_as_the_rule_gives_it() -> None:
    names = [name for names in read_table().values() for name in names]
    assert len(names) == len(set(names))
    assert all(photo_name(f"{name}-0a1b2c") == name for name in names)


def test_a_name_in_two_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text('cat = ["kitten"]\ndog = ["puppy", "kitten"]\n')
    with pytest.raises(ValueError, match="'kitten' is in 'cat' and in 'dog'"):
        read_table(tmp_path / "table.toml")


def test_photographs_go_to_their_classes() -> None:
    files = ["b/fish2-0a0a0a.jpg", "a/fish1-0a0a0a.jpg", "a/fish1-0a0a0a-d01.jpg", "a/x-0a0a0a.jpg"]
    found = assign(Path(file) for file in files)
    assert found == {"fish": [Path("a/fish1-0a0a0a.jpg"), Path("b/fish2-0a0a0a.jpg")]}


def test_the_folder_numbers_the_classes_as_everything_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_table()
    photos = tmp_path / "train" / "package"
    photos.mkdir(parents=True)
    for names in table.values():
        (photos / f"{names[0]}-0a1b2c.jpg").write_bytes(b"a photograph")
    counts = sort_photos(tmp_path / "train", tmp_path / "sorted")
    assert counts == dict.fromkeys(table, 1)
    source = open_images(str(tmp_path / "sorted"))
    of_label = {source.label(index): source.id(index).split("/")[0] for index in range(len(source))}
    names = [of_label[label] for label in range(len(table))]
    assert names == list(table)
    assert get_ar("nano-ar").config.model.classes == len(names)
    assert list(IMAGENET_GEN.protocol("nano").settings["class_names"]) == names
    assert (AR_WEIGHTS / "classes.txt").read_text(encoding="utf-8").splitlines() == names
    with pytest.raises(ValueError, match="is not empty"):
        sort_photos(tmp_path / "train", tmp_path / "sorted")
    (photos / "windmill-0a1b2c.jpg").unlink(missing_ok=True)
    (photos / "fanoewindmill-0a1b2c.jpg").unlink()
    with pytest.raises(ValueError, match="no photograph of windmill; give the folder `train`"):
        sort_photos(tmp_path / "train", tmp_path / "again")
    monkeypatch.setattr("sys.argv", ["classes", str(tmp_path), "--out", str(tmp_path / "sorted")])
    with pytest.raises(SystemExit) as stop:
        classes.main()
    assert stop.value.code == 2


def test_the_document_lists_the_classes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (listed,) = re.findall(r"<!-- classes -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    listing = " ".join(listed.rstrip(".").split())
    parts = [part.rpartition(" ") for part in listing.split(", ")]
    assert [name for name, _, _ in parts] == list(read_table())
    assert sum(int(count) for _, _, count in parts) == 301
