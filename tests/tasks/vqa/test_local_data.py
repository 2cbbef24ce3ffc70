from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.interfaces.errors import UserError
from tasks.vqa.local_data import LocalCopy, find_copy
from tasks.vqa.pictures import PicturesById, pending
from tasks.vqa.suites import SUITES
from tests.tasks.vqa.copies import ROWS, write_copies, write_json
from uwt_images.listing import UnreadableImage

NAMES = ("pope", "pope_task")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_copies(tmp_path_factory.mktemp("copies"))


def test_each_form_is_found_below_a_folder_of_all_suites(copies: Path) -> None:
    disk = find_copy(copies, ("gqa",), "", "testdev")
    assert disk.overrides("testdev") == {
        "dataset_path": str(copies / "gqa"),
        "dataset_name": None,
        "dataset_kwargs": {"load_from_disk": True},
    }
    parquet = find_copy(copies, NAMES, "", "test")
    assert parquet.path == "parquet"
    assert parquet.overrides("test")["dataset_kwargs"]["data_files"] == {
        "test": [str(copies / "pope" / "test-00000-of-00001.parquet")]
    }
    lines = find_copy(copies, ("mme",), "", "test")
    assert (lines.path, lines.root) == ("json", str(copies / "mme"))


def test_the_suites_own_folder_or_file_may_be_given(copies: Path) -> None:
    folder = find_copy(copies / "mme", ("mme",), "", "test")
    file = find_copy(copies / "mme" / "questions.jsonl", ("mme",), "", "test")
    assert folder.files == file.files


def test_one_split_of_another_name_is_taken(tmp_path: Path, copies: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["mine"]}')
    assert find_copy(tmp_path, NAMES, "", "test").overrides("test")["test_split"] == "mine"
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["a", "b"]}')
    with pytest.raises(UserError, match=r"several splits \(a, b\) and not one .*'test'"):
        find_copy(tmp_path, NAMES, "", "test")


def test_the_hubs_layout_with_subsets_and_other_splits(tmp_path: Path) -> None:
    for name in (
        "testdev_balanced_instructions/testdev-00000-of-00001.parquet",
        "testdev_balanced_instructions/train-00000-of-00001.parquet",
        "testdev_balanced_images/testdev-00000-of-00001.parquet",
        "val_all_instructions/val-00000-of-00001.parquet",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    copy = find_copy(tmp_path, ("gqa",), "testdev_balanced_instructions", "testdev")
    assert [Path(path).parent.name for path in copy.files] == ["testdev_balanced_instructions"]
    assert [Path(path).name for path in copy.files] == ["testdev-00000-of-00001.parquet"]
    assert [Path(path).parent.name for path in copy.images] == ["testdev_balanced_images"]


@pytest.mark.parametrize(
    "form",
    [
        "data/{}-00000-of-00001-b42a775f407cee45.parquet",
        "default/{}/0000.parquet",
        "{}.parquet",
        "{}.jsonl",
        "{}/questions.json",
    ],
)
def test_splits_are_never_mixed(form: str, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        path = tmp_path / form.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for wanted, split in (("test", "test"), ("validation", "val"), ("val", "val")):
        copy = find_copy(tmp_path, NAMES, "", wanted)
        assert copy.files == (str(tmp_path / form.format(split)),)
        assert f"{split!r} is read" in copy.note
    with pytest.raises(UserError, match=r"several splits \(test, train, val\)"):
        find_copy(tmp_path, NAMES, "", "testdev")


def test_splits_saved_one_by_one(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "state.json").touch()
        (tmp_path / split / "data-00000-of-00001.arrow").touch()
    copy = find_copy(tmp_path, NAMES, "", "validation")
    assert copy.files == (str(tmp_path / "val" / "data-00000-of-00001.arrow"),)


def test_another_copy_is_told_apart(tmp_path: Path) -> None:
    folder = write_json(tmp_path / "pope", ROWS["pope"])
    before = find_copy(folder, NAMES, "", "test")
    with (folder / "questions.jsonl").open("a") as file:
        file.write("\n")
    assert find_copy(folder, NAMES, "", "test") != before


def test_no_copy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        find_copy(tmp_path / "nowhere", NAMES, "", "test")
    with pytest.raises(UserError, match="no copy of pope is there; expected a folder that"):
        find_copy(tmp_path, NAMES, "", "test")
    (tmp_path / "pope.csv").touch()
    with pytest.raises(UserError, match="not understood"):
        find_copy(tmp_path / "pope.csv", NAMES, "", "test")
    (tmp_path / "dataset_dict.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        find_copy(tmp_path, NAMES, "", "test")


@pytest.mark.parametrize(
    "name",
    ["pope.jsonl", "POPE.json", "SEED-Bench/test.parquet", "vqav2_val.jsonl", "all/mme/test.json"],
)
def test_another_suites_copy_is_not_taken(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sets" / name
    path.parent.mkdir(parents=True)
    path.touch()
    there = name if name.startswith("all") else name.partition("/")[0]
    with pytest.raises(UserError, match=f"no copy of gqa in it, which has {there}$"):
        find_copy(tmp_path / "sets", ("gqa",), "", "testdev")
    with pytest.raises(UserError, match="no copy of gqa"):
        find_copy(path if path.stem != "test" else path.parent, ("gqa",), "", "testdev")


@pytest.mark.parametrize("name", ["GQA/testdev.jsonl", "gqa.jsonl", "gqa.parquet"])
def test_a_copy_may_have_the_hubs_name_beside_others(name: str, tmp_path: Path) -> None:
    for file in ("pope.jsonl", name):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert find_copy(tmp_path, ("gqa",), "", "testdev").files == (str(tmp_path / name),)


def test_pictures_open_late_and_as_they_are(copies: Path) -> None:
    from datasets import load_dataset

    files = str(copies / "mme" / "questions.jsonl")
    lines = load_dataset("json", data_files=files, split="train")
    (copies / "mme" / "images" / "1-image.png").write_bytes(b"no picture")
    opened = pending(("image",), str(copies / "mme"))(lines)
    assert opened[1]["question"] == ROWS["mme"][1]["question"]
    assert opened[0]["image"].convert("RGB").tobytes() == ROWS["mme"][0]["image"].tobytes()
    path = copies / "mme" / "images" / "1-image.png"
    with pytest.raises(UnreadableImage, match=f"^{path}: not an image that Pillow can read"):
        opened[1]["image"].convert("RGB")
    path.unlink()
    with pytest.raises(UnreadableImage, match=f"^{path}: cannot be read .No such file"):
        opened[1]["image"].convert("RGB")


def test_lists_of_pictures_and_absent_ones(copies: Path) -> None:
    from datasets import load_from_disk

    seed = pending(("image",))(load_from_disk(str(copies / "seedbench"))["test"])
    assert [len(row["image"]) for row in seed] == [1, 1, 2]
    mmmu = load_from_disk(str(copies / "mmmu"))["validation"]
    row = pending(tuple(f"image_{k}" for k in range(1, 8)))(mmmu)[0]
    assert row["image_2"] is None
    assert row["image_1"].convert("RGB").size == (32, 24)


def test_pictures_that_lie_apart() -> None:
    from datasets import Dataset

    rows = ROWS["gqa"]
    images = Dataset.from_list([{"id": row["imageId"], "image": row["image"]} for row in rows])
    questions = Dataset.from_list([{"imageId": row["imageId"]} for row in reversed(rows)])
    joined = pending(("image",), "", lambda: PicturesById(images))(questions)
    assert joined[0]["image"].convert("RGB").tobytes() == rows[1]["image"].tobytes()
    assert json.dumps(joined[0]["imageId"]) == '"n2"'


@pytest.mark.parametrize(
    ("suite", "column"),
    [
        ("seedbench", "choice_a"),
        ("scienceqa", "choices"),
        ("ai2d", "options"),
        ("textvqa", "answers"),
        ("vqav2", None),  # Its test split has no answers; the protocol of the other asks for them.
    ],
)
def test_rows_of_another_suite_lack_a_column(suite: str, column: str | None) -> None:
    there = list(ROWS["pope"][0])
    lacking = SUITES[suite].absent(there)
    assert (lacking[0] if lacking else None) == column
    assert SUITES[suite].absent(list(ROWS[suite][0])) == []


@pytest.mark.parametrize("form", ["lines", "table", "nested table"])
def test_pictures_beside_the_questions_belong_to_the_copy(form: str, tmp_path: Path) -> None:
    """One that is replaced, lost or found again makes another job; those of no question do not."""
    rows = [{"image": f"pictures/{number}.JPG"} for number in range(2)]
    if form == "lines":
        write_json(tmp_path / "pope.jsonl", rows)
    else:
        pictures = [{"bytes": None, "path": row["image"]} for row in rows]
        column: list[Any] = pictures if form == "table" else [[each] for each in pictures]
        pq.write_table(pa.table({"image": column}), tmp_path / "pope.parquet")
    folder = tmp_path / "pictures"
    folder.mkdir()

    def found() -> LocalCopy:
        return find_copy(tmp_path, NAMES, "", "test")

    none = found()
    (folder / "0.JPG").write_bytes(b"a picture")
    one = found()
    (folder / "other.JPG").write_bytes(b"another")
    assert found() == one != none
    (folder / "0.JPG").write_bytes(b"a longer picture")
    replaced = found()
    assert replaced != one
    (folder / "0.JPG").unlink()
    assert found() == none
    assert none.sizes == one.sizes == replaced.sizes


def test_names_of_pictures_are_read_as_json_writes_them(tmp_path: Path) -> None:
    write_json(tmp_path / "pope.jsonl", [{"image": 'd\u00e9 "1".png', "text": "no.picture"}])
    without = find_copy(tmp_path, NAMES, "", "test")
    (tmp_path / 'd\u00e9 "1".png').write_bytes(b"a picture")
    assert find_copy(tmp_path, NAMES, "", "test") != without
