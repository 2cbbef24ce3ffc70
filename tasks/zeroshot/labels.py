"""Which class an image is of: from its folder, its name, the lists of ImageNet, or a label column.

| layout | labels |
| --- | --- |
| `n01440764/IMAGE.JPEG` | the folder |
| `ILSVRC2012_val_00000293_n01440764.JPEG` | the name |
| `ILSVRC2012_val_00000293.JPEG`, or `ILSVRC2012_img_val.tar` of them | Kaggle's \
`LOC_val_solution.csv`, or the devkit's ground truth with its `meta.mat`, unpacked or as `.tar.gz` |
| a table with an image column | its column `label`: WordNet ids, or numbers of classes, \
whose names the column or the repository's `README.md` may give |

The devkit numbers the classes in an order of its own, other lists in others again, and a wrong
order looks like the right one. So whatever says something of it is held against it: names of
classes, WordNet ids in names of files, labels of the first images as published.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from harness.data.manifest import ImageSource
from harness.data.tables import HuggingFaceSource
from harness.interfaces.errors import UserError
from tasks.zeroshot.order import UNPROVEN

TRUTH, META, KAGGLE = (
    "ILSVRC2012_validation_ground_truth.txt",
    "meta.mat",
    "LOC_val_solution.csv",
)
DEVKIT = "ILSVRC2012_devkit_t12"
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?:_(n\d{8}))?", re.IGNORECASE)
_FIRST = {1: "n01751748", 2: "n09193705", 3: "n02105855", 4: "n04263257", 5: "n03125729"}
"""Classes of the first validation images, as published."""
_PARENTS = 4
"""Folders above the images in which lists are looked for, as Kaggle's lies above its images."""
_AGREE = 0.5
"""Share of names of classes that must be open_clip's too; other spellings differ, other orders
agree in none."""


def labels_of(
    source: ImageSource, place: Path, classes: Sequence[str], layout: str
) -> tuple[dict[str, int], str]:
    """The class of every image, by its place in `classes`, and what a user must know of them.

    Args:
        source: The images.
        place: Where the user said that they lie; lists lie there or above.
        classes: Names of the classes' folders, in the protocol's order.
        layout: What is expected, for errors.

    Raises:
        UserError: An image has no label, a label is no class, or the classes' order is wrong.
    """
    known = {name: index for index, name in enumerate(classes)}
    if isinstance(source, HuggingFaceSource):
        return _of_table(source, place, known)
    ids = source.ids()
    matches = {image_id: _NAME.fullmatch(PurePosixPath(image_id).stem) for image_id in ids}
    folders = {image_id: PurePosixPath(image_id).parent.name for image_id in ids}
    if not set(folders.values()) & set(known) and all(matches.values()):
        lists = None if all(match[2] for match in matches.values() if match) else _lists(place)
        named = {
            image_id: match[2] or _listed(lists, int(match[1]), place)
            for image_id, match in matches.items()
            if match
        }
    else:
        named = folders
    for image_id, name in named.items():
        if name not in known:
            where = f"folder {name!r}, which is no class" if name else "no class's folder"
            lies = (
                f"lies in {where}" if named is folders else f"is of class {name!r}, which is none"
            )
            raise UserError(
                f"data {str(place)!r}: image {image_id!r} {lies} of the protocol's {len(known)}: "
                f"expected {layout}"
            )
    _check_order(named.items(), known, place)
    return {image_id: known[name] for image_id, name in named.items()}, ""


def _check_order(named: Iterable[tuple[str, str]], known: Mapping[str, int], place: Path) -> None:
    """Raise `UserError` where a name of a file says another class, or a published label is."""
    for image_id, name in named:
        match = _NAME.fullmatch(PurePosixPath(image_id).stem)
        if match is None:
            continue
        expected = match[2] or _FIRST.get(int(match[1]), name)
        if expected != name and expected in known:
            raise UserError(
                f"data {str(place)!r}: labels in a wrong order of classes: image {image_id!r} is "
                f"labelled {name!r} and is {expected!r}"
            )


def _lists(place: Path) -> Mapping[int, str]:
    """WordNet ids of the validation images by number, from the lists that lie by the images."""
    base = place.resolve()
    above = [base, *base.parents][: _PARENTS + 1]
    for folder in above:
        if (path := folder / KAGGLE).is_file():
            return _of_kaggle(path)
        for inside in ("", "data", DEVKIT, f"{DEVKIT}/data"):
            if (path := folder / inside / TRUTH).is_file():
                return _of_devkit(path.read_bytes(), _meta(path), path)
        if (path := folder / f"{DEVKIT}.tar.gz").is_file():
            return _of_devkit(*_packed(path), path)
    raise UserError(
        f"data {str(place)!r}: the images lie in no class's folder: put {KAGGLE}, or {TRUTH} and "
        f"{META} of {DEVKIT}.tar.gz, beside them"
    )


def _listed(lists: Mapping[int, str] | None, number: int, place: Path) -> str:
    if lists is None or number not in lists:
        raise UserError(f"data {str(place)!r}: the lists beside it have no image {number}")
    return lists[number]


def _of_kaggle(path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                match = _NAME.fullmatch(row["ImageId"])
                # A class stands there once for every box that was drawn, always the same one.
                classes = set(row["PredictionString"].split()[::5])
                if match is None or len(classes) != 1:
                    raise UserError(f"{path}: {row['ImageId']!r} has {len(classes)} classes, not 1")
                found[int(match[1])] = classes.pop()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"{path} is no list with ImageId and PredictionString ({error}): fetch it again"
        ) from error
    return found


def _meta(truth: Path) -> bytes:
    path = truth.parent / META
    if not path.is_file():
        raise UserError(
            f"{truth}: its numbers of classes are the devkit's own, and {META}, which says what "
            f"they are, does not lie beside it: copy it from {DEVKIT}.tar.gz"
        )
    return path.read_bytes()


def _packed(path: Path) -> tuple[bytes, bytes]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            files = [archive.extractfile(f"{DEVKIT}/data/{name}") for name in (TRUTH, META)]
            truth, meta = (file.read() for file in files if file is not None)
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError) as error:
        raise UserError(f"{path} is not ImageNet's devkit ({error}): fetch it again") from error
    return truth, meta


def _of_devkit(truth: bytes, meta: bytes, path: Path) -> dict[int, str]:
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]  # type: ignore[arg-type]
        # Its inner nodes have numbers as well, and none of them is a label.
        wordnet = {
            int(synset["ILSVRC2012_ID"]): str(synset["WNID"])
            for synset in synsets
            if int(synset["num_children"]) == 0
        }
        numbers = [int(line) for line in truth.split()]
        return {place: wordnet[number] for place, number in enumerate(numbers, 1)}
    except Exception as error:  # A damaged MATLAB file makes its reader raise nearly any.
        raise UserError(
            f"{path}: the devkit's ground truth and {META} do not fit ({error}): fetch them again"
        ) from error


def _of_table(
    source: HuggingFaceSource, place: Path, known: Mapping[str, int]
) -> tuple[dict[str, int], str]:
    columns: Any = source.others
    if "label" not in columns.column_names:
        raise UserError(
            f"data {str(place)!r}: a table with the columns {columns.column_names} beside the "
            "image has no 'label'"
        )
    classes = list(known)
    values = columns["label"][:]
    names = getattr(columns.features["label"], "names", None) or _in_readme(place)
    order = _order(names, classes, place)
    labels = {}
    for image_id, value in zip(source.ids(), values, strict=True):
        name = value
        if isinstance(value, int) and not isinstance(value, bool):
            name = order[value] if 0 <= value < len(order) else value
        if name not in known:
            raise UserError(
                f"data {str(place)!r}: row {int(image_id)} has the label {value!r}, which is none "
                f"of the protocol's {len(classes)} classes"
            )
        labels[image_id] = known[name]
    files = [
        (file, classes[labels[row]]) for row, file in zip(source.ids(), source.files(), strict=True)
    ]
    _check_order(files, known, place)
    proven = names or isinstance(values[0], str) or any(_says_class(file) for file, _ in files)
    return labels, "" if proven else UNPROVEN


def _in_readme(place: Path) -> list[str]:
    """Names of the classes in the card of a repository's copy; none where it gives none."""
    from huggingface_hub import DatasetCard

    try:
        card: Any = DatasetCard.load(place / "README.md").data.to_dict()
        infos = card.get("dataset_info") or []
        for info in infos if isinstance(infos, list) else [infos]:
            for feature in info["features"]:
                if feature["name"] == "label" and isinstance(feature["dtype"], dict):
                    names = feature["dtype"]["class_label"]["names"]
                    return [str(names[key]) for key in sorted(names, key=int)]
    except Exception:  # A card is free text, and what is none of the usual form names nothing.
        return []
    return []


def _says_class(file: str) -> bool:
    match = _NAME.fullmatch(PurePosixPath(file).stem)
    return match is not None and (bool(match[2]) or int(match[1]) in _FIRST)


def _order(names: Sequence[str] | None, classes: Sequence[str], place: Path) -> Sequence[str]:
    """The protocol's names of a column's numbers; raise `UserError` where its names are others."""
    if not names:
        return classes
    if set(names) <= set(classes):
        return names
    agreeing = sum(map(_agree, names, _english(classes))) if len(names) == len(classes) else 0
    if agreeing < _AGREE * len(classes):
        raise UserError(
            f"data {str(place)!r}: labels in a wrong order of classes: {agreeing} of its "
            f"{len(names)} names are those of the protocol's {len(classes)} classes, in its order"
        )
    return classes


def _english(classes: Sequence[str]) -> Sequence[str]:
    """What open_clip calls ImageNet's classes; nothing for any other."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    from tasks.zeroshot.classifier import imagenet_folders

    return IMAGENET_CLASSNAMES if tuple(classes) == imagenet_folders() else ()


def _agree(name: str, ours: str) -> bool:
    return bool(set(_words(name)) & set(_words(ours)))


def _words(name: str) -> Iterator[str]:
    for part in re.split(r"[,(]", name.lower().replace("_", " ").replace("-", " ")):
        yield part.strip(" )")
