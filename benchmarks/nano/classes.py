"""Classes by file name: `python -m benchmarks.nano.classes photos/train --out photos-by-class`."""

from __future__ import annotations

import argparse
import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path

TABLE = Path(__file__).with_name("classes.toml")
_DIGEST = re.compile(r"-[0-9a-f]{6}$")
_DETAIL = re.compile(r"-[0-9a-f]{6}-d\d+$")


def photo_name(stem: str) -> str | None:
    """Give what a photograph's file name says it shows; None for a detail, which shows a part.

    Its digest, author (`-by-…`), digits and a closing `-background` are left out:
    `fanoewindmill-background-049a7e` is `fanoewindmill`, `grand-canyon-1-e01543` `grand-canyon`.
    """
    if _DETAIL.search(stem):
        return None
    name = _DIGEST.sub("", stem).partition("-by-")[0].removesuffix("-background")
    return re.sub(r"-+", "-", re.sub(r"\d+", "", name)).strip("-")


def read_table(path: Path = TABLE) -> dict[str, tuple[str, ...]]:
    """Read the names of photographs of every class, the classes in order of their numbers.

    Raises:
        ValueError: a name is in two classes.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    owner: dict[str, str] = {}
    for label, names in table.items():
        for name in names:
            if name in owner:
                raise ValueError(f"{path}: {name!r} is in {owner[name]!r} and in {label!r}")
            owner[name] = label
    # An image folder numbers its sub-folders so.
    return {label: tuple(table[label]) for label in sorted(table)}


def assign(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Give the photographs of every class that has any, in order; those of none are left out."""
    table = read_table()
    owner = {name: label for label, names in table.items() for name in names}
    found: dict[str, list[Path]] = {label: [] for label in table}
    for file in sorted(files):
        name = photo_name(file.stem)
        if name in owner:
            found[owner[name]].append(file)
    return {label: paths for label, paths in found.items() if paths}


def sort_photos(photos: Path, out: Path) -> dict[str, int]:
    """Copy photographs into a folder a class; return how many each has.

    Raises:
        ValueError: ``out`` is not empty, or a class has no photograph.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out}: is not empty; give another folder")
    found = assign(photos.rglob("*.jpg"))
    missing = sorted(set(read_table()) - set(found))
    if missing:
        raise ValueError(
            f"{photos}: no photograph of {', '.join(missing)}; give the folder `train` that "
            f"`python -m benchmarks.nano.photos` wrote"
        )
    for label, files in found.items():
        (out / label).mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, out / label / f"{file.parent.name}-{file.name}")
    return {label: len(files) for label, files in found.items()}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Sort the photographs into a folder a class.")
    parser.add_argument("photos", type=Path, help="train/ of `python -m benchmarks.nano.photos`")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    try:
        counts = sort_photos(arguments.photos, arguments.out)
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{sum(counts.values())} photographs of {len(counts)} classes: {arguments.out}")


if __name__ == "__main__":
    main()
