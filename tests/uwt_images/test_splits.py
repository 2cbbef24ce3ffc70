"""Which files of several splits are taken, and what is said or refused."""

from __future__ import annotations

import re

import pytest

from uwt_images.listing import ListingError
from uwt_images.splits import choose_split, kind_of

HASH = "b42a775f407cee45"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("train2017", "train"),
        ("VAL", "validation"),
        ("valid", "validation"),
        ("dev", "validation"),
        ("val_256", "validation"),
        ("ILSVRC2012_img_val", "validation"),
        ("imagenet-val", "validation"),
        ("test_images", "test"),
        ("testdev", ""),
        ("trainer", ""),
        ("bullet_train", ""),
        ("n01440764", ""),
        ("", ""),
    ],
)
def test_kinds(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("train", "validation", "root"),
    [
        ("train/n1/a.png", "val/n1/a.png", "val/"),
        ("Train/n1/a.png", "Validation/n1/a.png", "Validation/"),
        ("train2017/a.jpg", "val2017/a.jpg", "val2017/"),
        ("ILSVRC/Data/CLS-LOC/train/n1/a.JPEG", "ILSVRC/Data/CLS-LOC/val/a.JPEG", None),
        ("ILSVRC2012_img_train/n1/a.JPEG", "ILSVRC2012_img_val/a.JPEG", None),
        ("COCO_train2014_01.jpg", "COCO_val2014_02.jpg", ""),
        ("default/train/0000.parquet", "default/validation/0000.parquet", None),
        ("train.parquet", "validation.parquet", ""),
        ("data/train-00000-of-00001.parquet", "data/valid-00000-of-00001.parquet", ""),
        (
            f"data/train-00000-of-00002-{HASH}.parquet",
            f"data/dev-00000-of-00002-{HASH}.parquet",
            "",
        ),
        ("imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar", ""),
        ("train/train-00000-of-00001.parquet", "val/train-00000-of-00001.parquet", "val/"),
    ],
)
@pytest.mark.parametrize("test", [True, False])
def test_the_wanted_split_is_taken(
    train: str, validation: str, root: str | None, test: bool
) -> None:
    names = [train, validation]
    if test and "train" in train:
        names.append(train.replace("train", "test"))
    for wanted, name in (("validation", validation), ("train", train)):
        chosen = choose_split(sorted(names), wanted, "data")
        assert chosen.names == [name]
        assert "of its splits" in chosen.note
    if root is not None:
        assert choose_split(sorted(names), "validation", "data").root == root
    with pytest.raises(ListingError, match=r"data holds several splits \(.*, .*none was asked"):
        choose_split(sorted(names), None, "data")


def test_the_root_is_the_splits_folder_so_that_ids_are_as_of_that_folder() -> None:
    names = ["ILSVRC/Data/CLS-LOC/train/n1/a.png", "ILSVRC/Data/CLS-LOC/val/b.png"]
    assert choose_split(names, "validation", "data").root == "ILSVRC/Data/CLS-LOC/val/"


@pytest.mark.parametrize(
    "names",
    [
        ["bus/a.jpg", "train/b.jpg", "truck/c.jpg"],
        ["vehicle/train/a.jpg", "vehicle/bus/b.jpg", "animal/dog/c.jpg"],
        ["vehicle/train/a.jpg", "animal/dog/c.jpg"],
        ["n1/a.jpg", "n2/b.jpg"],
        ["train_01.jpg", "train_02.jpg"],
        ["val_1.jpg", "train_2.jpg", "c.jpg"],
        ["a.jpg", "deep/er/b.jpg"],
        ["data-00000-of-00002.parquet", "data-00001-of-00002.parquet"],
        ["part-00000.parquet", "part-00001.parquet"],
        ["0000.parquet", "0001.parquet"],
        ["00000.tar", "00001.tar"],
        [],
    ],
)
@pytest.mark.parametrize("wanted", ["validation", "train", None])
def test_where_no_splits_are_all_is_taken(names: list[str], wanted: str | None) -> None:
    chosen = choose_split(sorted(names), wanted, "data")
    assert (list(chosen.names), chosen.root, chosen.note) == (sorted(names), "", "")


def test_each_branch_may_have_its_own_splits() -> None:
    names = ["bottle/test/x.png", "bottle/train/a.png", "cable/test/y.png", "cable/train/b.png"]
    chosen = choose_split(names, "test", "data")
    assert (list(chosen.names), chosen.root) == (["bottle/test/x.png", "cable/test/y.png"], "")
    assert chosen.note == "data: of its splits test, train 'test' is read, in bottle, cable"


@pytest.mark.parametrize("wanted", ["validation", "train"])
def test_where_a_split_is_read_in_several_folders_they_are_named(wanted: str) -> None:
    own = {"validation": "val", "train": "train"}[wanted]
    for form in ("{}/{}/a.png", "data/{}/{}/n1/a.png"):
        names = [form.format(each, split) for each in ("cn", "en") for split in ("train", "val")]
        chosen = choose_split(names, wanted, "data")
        assert chosen.names == [form.format(each, own) for each in ("cn", "en")]
        assert re.search(r"' is read, in (data/)?cn, (data/)?en$", chosen.note)
    lone = choose_split(["cn/train/a.png", "cn/val/a.png", "en/test/a.png"], wanted, "data")
    assert lone.note.endswith(f"{own!r} is read, in cn, but not in en")


def test_a_split_that_another_folder_spells_otherwise_is_refused() -> None:
    names = ["cn/train/a.png", "cn/val/a.png", "en/train/a.png", "en/validation/a.png"]
    with pytest.raises(ListingError, match=r"several times \(cn/val, en/validation\): give"):
        choose_split(names, "validation", "data")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["test/a.png", "train/b.png"], "validation"),
        (["a.png", "train/b.png"], "validation"),
        (["dev/a.png", "val/b.png"], "validation"),
        (["val2014/a.png", "val2017/b.png"], "validation"),
        (["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"], "validation"),
        (["part1-00000-of-00001.parquet", "part2-00000-of-00001.parquet"], "validation"),
        (["train.parquet", "others.parquet"], "validation"),
    ],
)
def test_several_splits_of_which_none_fits_are_refused_by_name(
    names: list[str], wanted: str
) -> None:
    with pytest.raises(ListingError, match=r"^data holds several splits \(") as refused:
        choose_split(sorted(names), wanted, "data")
    assert "\n" not in str(refused.value)
    assert f"{wanted!r}: give the folder or file of one" in str(refused.value)


def test_files_that_name_no_split_are_told_from_splits() -> None:
    names = ["foo.parquet", "train.parquet"]
    with pytest.raises(ListingError, match=r"several splits \(train and files of no split\)"):
        choose_split(names, "validation", "data")
    note = "data: of its splits train and files of no split 'train' is read"
    assert choose_split(names, "train", "data").note == note


def test_the_year_decides_among_splits_of_one_kind() -> None:
    names = ["val2014/a.png", "val2017/b.png"]
    assert choose_split(names, "val2017", "data").names == ["val2017/b.png"]
    assert choose_split(names[:1], "val2017", "data").names == ["val2014/a.png"]


def test_an_only_split_is_taken_and_named_where_another_is_wanted() -> None:
    names = ["train/n1/a.png", "train/n2/b.png"]
    assert choose_split(names, "validation", "data").note == (
        "data: its only split is 'train', the task's is 'validation'"
    )
    for wanted in ("train", None):
        chosen = choose_split(names, wanted, "data")
        assert (list(chosen.names), chosen.root, chosen.note) == (names, "train/", "")


def test_validation_beside_folders_of_no_split_is_taken() -> None:
    chosen = choose_split(["devkit/a.png", "val/n1/b.png"], "validation", "data")
    assert chosen.names == ["val/n1/b.png"]


@pytest.mark.parametrize(
    "name",
    [
        *("val_256x256", "val_orig", "val_resized", "valid_images_256x256", "val-256px", "val_v2"),
        *("imagenet_val_5k", "256_val", "val10k", "eval", "partial-validation"),
    ],
)
def test_spellings_of_validation_beside_train(name: str) -> None:
    for form in ("{}/n1/a.png", "deep/{}/n1/a.png", "default/{}/0000.parquet"):
        names = sorted([form.format("train"), form.format(name)])
        assert choose_split(names, "validation", "data").names == [form.format(name)]


@pytest.mark.parametrize(
    "names",
    [
        ["trainA/a.png", "trainB/a.png", "valA/a.png", "valB/a.png"],
        ["train/n1/a.png", "val_of_mine/n1/a.png"],
        ["my-train/n1/a.png", "val/n1/a.png", "valid/n1/a.png"],
    ],
)
def test_what_only_resembles_splits_is_refused_and_named(names: list[str]) -> None:
    with pytest.raises(ListingError, match="several splits") as refused:
        choose_split(names, "validation", "data")
    assert all(name.partition("/")[0] in str(refused.value) for name in names)


@pytest.mark.parametrize("outer", ["val", "dev", "data/val"])
def test_inner_splits_of_one_outer_split_decide(outer: str) -> None:
    names = [f"{outer}/{split}/n/a.png" for split in ("test", "train", "val")]
    for wanted, name in (("train", names[1]), ("validation", names[2])):
        chosen = choose_split(names, wanted, "data")
        assert (chosen.names, chosen.root) == ([name], name.removesuffix("n/a.png"))
    shards = [f"{outer}/train-0000.parquet", f"{outer}/validation-0000.parquet"]
    assert choose_split(shards, "validation", "data").names == shards[1:]


@pytest.mark.parametrize(
    ("form", "parents"),
    [
        ("{}/validation-00000-of-00001.parquet", ("full", "small")),
        ("imagenet/{}/val/n1/a.png", ("256", "64")),
        ("{}/validation/0000.parquet", ("cn", "en")),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_one_split_of_several_configurations_is_refused(
    form: str, parents: tuple[str, str], train: bool
) -> None:
    names = [form.format(parent) for parent in parents]
    if train:
        names += [name.replace("validation", "train").replace("/val/", "/train/") for name in names]
    with pytest.raises(ListingError, match=r"^data holds the split 'val.*' several times") as error:
        choose_split(sorted(names), "validation", "data")
    assert all(f"{parent}/val" in str(error.value) for parent in parents)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "form",
    [
        *("{}-{:04}.parquet", "{}-{:05}-of-00002.parquet", "imagenet_{}_{:04}.tar"),
        *("{}{}.jpg", "{}_{}.jpg", "{}{}.parquet"),
    ],
)
@pytest.mark.parametrize("validation", ["val", "validation"])
def test_numbered_shards_are_of_one_split(form: str, validation: str) -> None:
    wanted = [form.format(validation, number) for number in range(3)]
    others = [form.format("train", number) for number in range(3)]
    assert choose_split(sorted(wanted + others), "validation", "data").names == wanted
    assert choose_split(wanted, "validation", "data").names == wanted
