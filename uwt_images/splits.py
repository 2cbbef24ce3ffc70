"""Which of the splits that lie side by side is meant: the names of folders say, then of files.

| what lies there | splits |
| --- | --- |
| `train/n01/a.jpg`, `val/n01/b.jpg`, at any depth | train, val |
| `default/train/0000.parquet` | train |
| `data/validation-00000-of-00014-HASH.parquet`, `validation.parquet` | validation |
| `imagenet1k-val-0000.tar`, `imagenet1k-val-0001.tar` | imagenet1k-val |
| `val/train/a.jpg`, `val/val/b.jpg` | train, val |
| `COCO_val2014_1.jpg` beside `COCO_train2014_1.jpg` | val2014, train2014 |
| `bus/a.jpg`, `train/b.jpg`, `truck/c.jpg` | none: classes |
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from uwt_images.listing import IMAGE_SUFFIXES, ListingError, suffix_of

_ADVICE = "give the folder or file of one"

_KINDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SIZE = r"\d+(?:x\d+|px|k)?"
_SPLIT = re.compile(
    rf"(?:(?:ilsvrc|imagenet|coco)\w*?[-_]|(?:partial|{_SIZE})[-_])*"
    rf"({'|'.join(_KINDS)})"
    rf"(?:[-_]?(?:{_SIZE}|v\d+|images?|set|data|orig(?:inal)?|resized?|(?-i:[AB])))*",
    re.IGNORECASE,
)
"""A split's name, alone or as `ILSVRC2012_img_val`, `val2017`, `val_256x256` and `test_images`."""
_HUB_SHARD = re.compile(r"(.+?)-\d+-of-\d+(?:-[0-9a-f]+)?")
_NUMBERED = re.compile(r"(.+?)[-_]?(\d+)")
_NO_SPLIT = ("data", "part", "shard")
"""What shards are called that name no split."""


def kind_of(name: str) -> str:
    """'train', 'validation' or 'test' for a split's name in any usual spelling, '' for others."""
    found = _SPLIT.fullmatch(name)
    return _KINDS[found[1].lower()] if found else ""


def _resembles(name: str) -> str:
    """The kind of split that a name is, or has among its words, as `my_val` has."""
    words = re.split(r"[^a-z]+", name.lower())
    return kind_of(name) or next((_KINDS[word] for word in words if word in _KINDS), "")


@dataclass(frozen=True)
class Chosen:
    """The files of one split."""

    names: Sequence[str]
    """As given, in their order."""
    root: str = ""
    """The folder that holds them all, with a slash at its end, where one folder is the split."""
    note: str = ""
    """What the user must know of the choice."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """Files by the splits that were found."""


def choose_split(
    names: Sequence[str], wanted: str | None, where: str, advice: str = _ADVICE
) -> Chosen:
    """Take the files of one split.

    Args:
        names: Paths with slashes of all files, sorted.
        wanted: The split that is meant, such as 'validation', or 'val2017' where that is preferred
            to others of its kind; None where any one will do.
        where: What holds them, for messages.
        advice: What to do where that cannot be told, for errors.

    Raises:
        ListingError: Several splits are there and none is the wanted one, or that one is there
            under several folders, as of several configurations.
    """
    folders = _by_folders({name.rpartition("/")[0] for name in names}, wanted)
    labels = [folders[name.rpartition("/")[0]] for name in names] if folders else []
    if len(set(labels)) <= 1:
        by_files = _by_file_names(names)
        if not labels or len(_kinds(by_files)) > 1:
            labels = [(split, "") for split in by_files]
    counts = Counter(split for split, _ in labels)
    if set(counts) <= {""}:
        return Chosen(names)
    split, note = pick(counts, wanted, where, advice)
    roots = {root for name, root in labels if name == split}
    note += _where_it_lies(split, names, labels, where, advice)
    return Chosen(
        [name for name, (its, _) in zip(names, labels, strict=True) if its == split],
        next(iter(roots)) if len(roots) == 1 else "",
        note,
        counts,
    )


def _where_it_lies(
    split: str, names: Sequence[str], labels: Sequence[tuple[str, str]], where: str, advice: str
) -> str:
    """What must be said of the folders that have the split.

    Categories of pictures that have several splits each, as those of MVTec AD, are one data set.

    Raises:
        ListingError: It lies under several folders, as of configurations, or in one of them under
            another spelling.
    """
    pictures = suffix_of(names[0]) in IMAGE_SUFFIXES
    below: dict[str, set[str]] = defaultdict(set)
    for name, (its, root) in zip(names, labels, strict=True):
        if its and (root or not pictures):
            below[(root.rstrip("/") if root else name).rpartition("/")[0]].add(its)
    same = {name for name in _KINDS if split in _KINDS and _KINDS[name] == _KINDS[split]} | {split}
    held = [f"{parent}/{its}" for parent in sorted(below) for its in sorted(below[parent] & same)]
    parents = sorted(parent for parent, splits in below.items() if split in splits)
    sizes = any(re.fullmatch(_SIZE, parent.rpartition("/")[2]) for parent in parents)
    alike = pictures and not sizes and all(len(_kinds(below[parent])) > 1 for parent in parents)
    if len(held) > len(parents) or (len(parents) > 1 and not alike):
        shown = _some([path.lstrip("/") for path in held])
        raise ListingError(f"{where} holds the split {split!r} several times ({shown}): {advice}")
    if len(below) < 2:
        return ""
    lacking = sorted(set(below) - set(parents))
    without = f", but not in {_some(lacking)}" if lacking else ""
    return f", in {_some(parents)}{without}"


def _some(names: Sequence[str]) -> str:
    """The first names, and how many there are more."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _kinds(names: Iterable[str]) -> set[str]:
    return {kind_of(name) for name in names} - {""}


def pick(
    splits: Collection[str], wanted: str | None, where: str, advice: str = _ADVICE
) -> tuple[str, str]:
    """Choose among names of splits, '' standing for files of none; and what must be said of it.

    Raises:
        ListingError: There are several, and not one of them is the wanted one.
    """
    if wanted is not None:
        same = [name for name in splits if name.lower() == wanted.lower()]
        fitting = same or [name for name in splits if kind_of(name) == (kind_of(wanted) or None)]
        if len(fitting) == 1:
            others = sorted(set(splits) - set(fitting))
            note = f"{where}: of its splits {_spell(splits)} {fitting[0]!r} is read"
            return fitting[0], note if others else ""
    if len(splits) == 1:
        (only,) = splits
        note = f"{where}: its only split is {only!r}, the task's is {wanted!r}"
        return only, note if wanted is not None and kind_of(only) else ""
    meant = f"and not one of them alone is {wanted!r}" if wanted else "and none was asked for"
    raise ListingError(f"{where} holds several splits ({_spell(splits)}) {meant}: {advice}")


def _spell(splits: Collection[str]) -> str:
    named = ", ".join(filter(None, sorted(splits)))
    return f"{named} and files of no split" if "" in splits else named


def _by_folders(folders: Collection[str], wanted: str | None) -> dict[str, tuple[str, str]]:
    """The split of every folder, and the folder that names it; nothing where none does."""
    parts = {folder: folder.split("/") if folder else [] for folder in folders}
    for depth in range(min(map(len, parts.values()), default=0)):
        if all(kind_of(path[depth]) for path in parts.values()):
            inner = _by_folders({"/".join(path[depth + 1 :]) for path in parts.values()}, wanted)
            alone = len({tuple(path[: depth + 1]) for path in parts.values()}) == 1
            if alone and len(_kinds(split for split, _ in inner.values())) > 1:
                outer = "/".join(next(iter(parts.values()))[: depth + 1])
                return {
                    f"{outer}/{folder}".rstrip("/"): (its, root and f"{outer}/{root}")
                    for folder, (its, root) in inner.items()
                }
            return {
                folder: (path[depth], "/".join(path[: depth + 1]) + "/")
                for folder, path in parts.items()
            }
    below: dict[str, set[str]] = defaultdict(set)
    for path in parts.values():
        for depth, name in enumerate(path):
            below["/".join(path[:depth])].add(name)
    levels = {parent for parent, children in below.items() if _are_splits(children)}
    if not levels:
        top, children = "", below[""]
        while len(children) == 1 and top not in folders:
            top = f"{top}/{next(iter(children))}".lstrip("/")
            children = below[top]
        beside_files = top in folders and bool(children) and all(map(kind_of, children))
        if beside_files or _is_one(children, wanted):
            levels = {top}
    return {folder: _first(path, levels) for folder, path in parts.items()} if levels else {}


def _are_splits(children: Collection[str]) -> bool:
    """Whether folders side by side are splits: a class may be called `train`, but not two.

    Names that only have a split's among their words count where most are such.
    """
    alike = [name for name in children if _resembles(name)]
    most = len(alike) * 2 > len(children) and any(map(kind_of, alike))
    return len(_kinds(children)) > 1 or (most and len(set(map(_resembles, alike))) > 1)


def _is_one(children: Collection[str], wanted: str | None) -> bool:
    """Whether one is the validation split that is wanted, which no class is called."""
    kinds = [kind_of(name) for name in children]
    return kind_of(wanted or "") == "validation" and kinds.count("validation") == 1


def _first(parts: Sequence[str], levels: Collection[str]) -> tuple[str, str]:
    """The name below the first of the levels on a path, and the path up to it."""
    for depth, name in enumerate(parts):
        if "/".join(parts[:depth]) in levels:
            return name, "/".join(parts[: depth + 1]) + "/"
    return "", ""


def _by_file_names(names: Sequence[str]) -> list[str]:
    """The split that each file's own name says; of pictures only where all name several."""
    files = [name.rpartition("/")[2] for name in names]
    if names and suffix_of(names[0]) in IMAGE_SUFFIXES:
        found = _unnumbered([_word(name.partition(".")[0], "_") for name in files])
        kinds = {kind_of(split) for split in found}
        return found if "" not in kinds and len(kinds) > 1 else [""] * len(names)
    stems = [name.partition(".")[0] for name in files]
    return [_of_shard(*pair) for pair in zip(stems, _unnumbered(stems), strict=True)]


def _unnumbered(names: Sequence[str]) -> list[str]:
    """Names without the numbers of shards: those that begin at 0 or 1, or are filled up with 0."""
    parted = [_NUMBERED.fullmatch(name) for name in names]
    shards = {found[1] for found in parted if found and (found[2][0] == "0" or found[2] == "1")}
    return [
        found[1] if found and found[1] in shards else name
        for name, found in zip(names, parted, strict=True)
    ]


def _of_shard(stem: str, unnumbered: str) -> str:
    found = _HUB_SHARD.fullmatch(stem)
    name = found[1] if found else unnumbered
    word = _word(name, "-_")
    if kind_of(name) or (found and name.lower() not in _NO_SPLIT and not word):
        return name
    return word


def _word(stem: str, separators: str) -> str:
    """The first word of a name that is a split's."""
    words = re.split(f"[{re.escape(separators)}]", stem)
    return next((word for word in words if kind_of(word)), "")
