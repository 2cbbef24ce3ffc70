"""Labels from the layouts that ImageNet comes in, and wrong orders of classes found out."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from harness.data.sources import open_source
from harness.interfaces.errors import UserError
from tasks.zeroshot.classifier import imagenet_folders
from tasks.zeroshot.labels import DEVKIT, KAGGLE, META, TRUTH, labels_of

CLASSES = imagenet_folders()
PUBLISHED = ["n01751748", "n09193705", "n02105855", "n04263257", "n03125729"]
"""ILSVRC2012_val_00000001 to 5."""
OWN = np.random.default_rng(0).permutation(1000) + 1
"""The devkit's number of each class: an order of its own."""
JPEG = io.BytesIO()
Image.new("RGB", (8, 8)).save(JPEG, "JPEG")


def labels(place: Path) -> list[str]:
    found, _ = labels_of(open_source(str(place), "images"), place, CLASSES, "images")
    return [CLASSES[found[name]] for name in sorted(found)]


def write_flat(
    root: Path, name: Callable[[int], str] = "ILSVRC2012_val_{:08d}.JPEG".format
) -> Path:
    root.mkdir(parents=True)
    for number in range(1, 6):
        (root / name(number)).write_bytes(JPEG.getvalue())
    return root


def write_devkit(folder: Path, wnids: list[str] = PUBLISHED) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    leaves = [(int(number), wnid, 0) for number, wnid in zip(OWN, CLASSES, strict=True)]
    synsets = np.array([*leaves, (1001, "n00001740", 2)], kind)
    savemat(folder / META, {"synsets": synsets})
    numbers = [OWN[CLASSES.index(wnid)] for wnid in wnids]
    (folder / TRUTH).write_text("".join(f"{number}\n" for number in numbers))
    return folder


def write_kaggle(path: Path, wnids: list[str] = PUBLISHED) -> None:
    rows = [
        f"ILSVRC2012_val_{number:08d},{wnid} 1 2 3 4 {wnid} 5 6 7 8 \n"
        for number, wnid in enumerate(wnids, 1)
    ]
    path.write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))


def pack(target: Path, folder: Path, inside: str, mode: Any) -> Path:
    with tarfile.open(target, mode) as archive:
        archive.add(folder, inside)
    shutil.rmtree(folder)
    return target


@pytest.mark.parametrize("inside", ["val", "val/data", DEVKIT, f"{DEVKIT}/data", ""])
def test_flat_images_with_the_devkit(tmp_path: Path, inside: str) -> None:
    root = write_flat(tmp_path / "val")
    write_devkit(tmp_path / inside)
    assert labels(root) == PUBLISHED


def test_the_archives_as_they_are_downloaded(tmp_path: Path) -> None:
    images = write_flat(tmp_path / "flat")
    tar = pack(tmp_path / "ILSVRC2012_img_val.tar", images, "", "w:")
    devkit = write_devkit(tmp_path / "kit" / "data").parent
    pack(tmp_path / f"{DEVKIT}.tar.gz", devkit, DEVKIT, "w:gz")
    assert labels(tar) == PUBLISHED


def test_kaggles_layout(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    write_kaggle(tmp_path / KAGGLE)
    assert labels(root) == PUBLISHED


def test_names_that_hold_the_class(tmp_path: Path) -> None:
    named = "ILSVRC2012_val_{0:08d}_{1}.JPEG"
    root = write_flat(tmp_path / "val", lambda n: named.format(n, PUBLISHED[n - 1]))
    assert labels(root) == PUBLISHED


def refused(place: Path) -> str:
    with pytest.raises(UserError) as error:
        labels(place)
    (line,) = str(error.value).splitlines()
    return line


def test_lists_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "val")
    assert f"put {KAGGLE}, or {TRUTH} and {META} of {DEVKIT}.tar.gz, beside" in refused(root)
    write_devkit(root)
    (root / META).rename(root / "meta.bin")
    assert f"{META}, which says what they are, does not lie beside it" in refused(root)
    (root / META).write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 400)
    assert f"ground truth and {META} do not fit" in refused(root)
    (root / TRUTH).unlink()
    (root / f"{DEVKIT}.tar.gz").write_bytes(b"\x1f\x8bno")
    assert "is not ImageNet's devkit" in refused(root)
    (root / KAGGLE).write_text("id,label\n1,2\n")
    assert "is no list with ImageId and PredictionString" in refused(root)
    write_kaggle(root / KAGGLE, PUBLISHED[:4])
    assert "have no image 5" in refused(root)


def test_wrong_orders_of_classes_are_found_out(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "val")
    # Sorted numbers in the place of the devkit's own, as several conversions of the list have.
    write_devkit(root)
    numbers = [CLASSES.index(wnid) + 1 for wnid in PUBLISHED]
    (root / TRUTH).write_text("".join(f"{number}\n" for number in numbers))
    wrong = "labels in a wrong order of classes: image 'ILSVRC2012_val_00000001.JPEG' is labelled"
    assert wrong in refused(root)
    write_kaggle(root / KAGGLE, PUBLISHED[1:] + PUBLISHED[:1])
    assert f"{wrong} 'n09193705' and is 'n01751748'" in refused(root)
    (tmp_path / "folders" / "n01440764").mkdir(parents=True)
    (root / "ILSVRC2012_val_00000003.JPEG").rename(
        tmp_path / "folders" / "n01440764" / "ILSVRC2012_val_00000003.JPEG"
    )
    assert "is labelled 'n01440764' and is 'n02105855'" in refused(tmp_path / "folders")


def write_table(root: Path, values: list[Any], kind: Any, paths: list[str] | None = None) -> Path:
    (root / "data").mkdir(parents=True)
    images = [
        {"bytes": JPEG.getvalue(), "path": paths[row] if paths else None}
        for row in range(len(values))
    ]
    features = datasets.Features({"image": datasets.Image(), "label": kind})
    table = datasets.Dataset.from_dict({"image": images, "label": values}, features)
    table.to_parquet(str(root / "data" / "validation-00000-of-00001.parquet"))
    return root


NUMBERS = [CLASSES.index(wnid) for wnid in PUBLISHED]
PATHS = [f"ILSVRC2012_val_{n:08d}_{wnid}.JPEG" for n, wnid in enumerate(PUBLISHED, 1)]


def test_a_table_with_labels(tmp_path: Path) -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    number = datasets.Value("int64")
    hub = [f"{name}, Latin {place}" for place, name in enumerate(IMAGENET_CLASSNAMES)]
    turned = list(CLASSES[::-1])
    kinds = {
        "numbers": (NUMBERS, number, PATHS),
        "texts": (PUBLISHED, datasets.Value("string"), None),
        "wnids": ([turned.index(w) for w in PUBLISHED], datasets.ClassLabel(names=turned), None),
        "names": (NUMBERS, datasets.ClassLabel(names=hub), None),
    }
    for name, (values, kind, paths) in kinds.items():
        place = write_table(tmp_path / name, values, kind, paths)
        source = open_source(str(place), "images")
        found, notice = labels_of(source, place, CLASSES, "images")
        assert [CLASSES[each] for each in found.values()] == PUBLISHED, name
        assert notice == ""
    bare = write_table(tmp_path / "bare", NUMBERS, number)
    _, notice = labels_of(open_source(str(bare), "images"), bare, CLASSES, "images")
    assert "nothing in it says so" in notice


def test_tables_with_other_orders_or_labels_are_refused(tmp_path: Path) -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    number = datasets.Value("int64")
    own = [int(OWN[place]) - 1 for place in NUMBERS]
    table = write_table(tmp_path / "own", own, number, PATHS)
    assert "wrong order of classes: image 'ILSVRC2012_val_00000001_n01751748" in refused(table)
    turned = datasets.ClassLabel(
        names=[f"{n}, {i}" for i, n in enumerate(IMAGENET_CLASSNAMES[::-1])]
    )
    table = write_table(tmp_path / "turned", NUMBERS, turned)
    assert "of its 1000 names are those of the protocol's 1000 classes, in its order" in refused(
        table
    )
    for name, label in (("above", 1000), ("below", -1), ("none", None)):
        table = write_table(tmp_path / name, [0, label], number)
        assert f"row 1 has the label {label}, which is none of the protocol's" in refused(table)
    plain = tmp_path / "plain"
    (plain / "data").mkdir(parents=True)
    images = datasets.Dataset.from_dict(
        {"image": [{"bytes": JPEG.getvalue(), "path": None}]},
        datasets.Features({"image": datasets.Image()}),
    )
    images.to_parquet(str(plain / "data" / "validation-00000-of-00001.parquet"))
    assert "beside the image has no 'label'" in refused(plain)


def test_the_card_of_a_repository_says_the_order_of_bare_numbers(tmp_path: Path) -> None:
    turned = list(CLASSES[::-1])
    values = [turned.index(wnid) for wnid in PUBLISHED]
    place = write_table(tmp_path / "copy", values, datasets.Value("int64"))
    names = "".join(f"          '{number}': {wnid}\n" for number, wnid in enumerate(turned))
    (place / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n"
        f"    dtype:\n      class_label:\n        names:\n{names}---\n# A copy\n"
    )
    found, notice = labels_of(open_source(str(place), "images"), place, CLASSES, "images")
    assert [CLASSES[each] for each in found.values()] == PUBLISHED
    assert notice == ""
    (place / "README.md").write_text("---\ndataset_info: [1, 2]\n---\n")
    _, notice = labels_of(open_source(str(place), "images"), place, CLASSES, "images")
    assert "nothing in it says so" in notice
