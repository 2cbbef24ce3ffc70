"""Opening a path as a source of images."""

from __future__ import annotations

from pathlib import Path

from braceexpand import braceexpand

from uniwetok.train import TrainingError
from uniwetok.train.data.folder import FolderImages, list_folder
from uniwetok.train.data.shards import OnProgress, ShardImages
from uniwetok.train.data.source import IMAGE_SUFFIXES, ImageSource

LAYOUTS = (
    "give a folder of images (with or without class sub-folders), a folder of WebDataset .tar "
    "shards, one .tar, or a pattern such as shards/{00000..00009}.tar"
)


def open_images(path: str | Path, *, on_progress: OnProgress | None = None) -> ImageSource:
    """Open a folder of images, or WebDataset shards by their folder, by name or by brace pattern.

    Args:
        path: where the images are.
        on_progress: takes the number of shards listed and the number of all, as listing goes on.

    Raises:
        TrainingError: there is no such path, or it holds no image, images and shards at once, or
            several splits; the message says what was looked for.
    """
    place = Path(path).expanduser()
    if place.is_file() and place.suffix.lower() == ".tar":
        return ShardImages([place], on_progress)
    if place.is_dir():
        return _open_folder(place, on_progress)
    if place.exists():
        raise TrainingError(f"{path} is neither a folder nor a .tar: {LAYOUTS}")
    if "{" in str(path):
        return ShardImages(_expand(place), on_progress)
    raise TrainingError(f"{path} does not exist: {LAYOUTS}")


def _open_folder(root: Path, on_progress: OnProgress | None) -> ImageSource:
    splits = [name for name in ("train", "val", "validation", "test") if (root / name).is_dir()]
    if len(splits) > 1:
        raise TrainingError(
            f"{root} holds several splits ({', '.join(splits)}): give one, such as "
            f"{root / splits[0]}"
        )
    listing = list_folder(root)
    if listing.images and listing.shards:
        raise TrainingError(
            f"{root} holds both {len(listing.images)} images (such as {min(listing.images)}) and "
            f"{len(listing.shards)} tar shards (such as {min(listing.shards)}): give a folder of "
            "one kind"
        )
    if listing.shards:
        return ShardImages([root / name for name in sorted(listing.shards)], on_progress)
    if listing.images:
        return FolderImages(root, listing.images)
    raise TrainingError(
        f"{root} holds no image: looked at any depth for files {', '.join(IMAGE_SUFFIXES)} and for "
        f".tar shards; {LAYOUTS}"
    )


def _expand(pattern: Path) -> list[Path]:
    try:
        paths = [Path(text) for text in braceexpand(str(pattern))]
    except ValueError as error:
        raise TrainingError(f"{pattern} is not a brace pattern ({error}): {LAYOUTS}") from error
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise TrainingError(
            f"{pattern} names {len(paths)} shards, of which {len(missing)} do not exist, first "
            f"{missing[0]}; download them or narrow the pattern"
        )
    return paths
