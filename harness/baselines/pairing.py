"""Which reconstruction belongs to which original, by their names or their order."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.interfaces.errors import UserError


def _stem(name: str) -> str:
    """The path without the ending, so that a PNG is of the JPEG that it was made from."""
    return posixpath.splitext(name)[0]


def _base(name: str) -> str:
    """The stem without folders, so that a flat folder is of one with classes."""
    return posixpath.basename(_stem(name))


_NAMES: tuple[Callable[[str], str], ...] = (str, _stem, _base)
"""How names are compared, the strictest first."""


def pairs_of_names(
    originals: Sequence[str], images: Sequence[str], place: str
) -> Mapping[str, str]:
    """Pair images with originals of their names: as they are, without endings, without folders.

    The strictest comparison in which every image has an original decides for all of them.

    Args:
        originals: Paths with slashes.
        images: Paths with slashes.
        place: Where the images lie, for errors.

    Returns:
        By original, its image; originals without one are not there.

    Raises:
        UserError: Images have no original, or one of several.
    """
    for name_of in _NAMES:
        known, given = _by_name(originals, name_of), _by_name(images, name_of)
        strange = [name for name in given if name not in known]
        if strange:
            continue
        for name, found in given.items():
            for what, several in (("originals", known[name]), ("images", found)):
                if len(several) > 1:
                    raise UserError(
                        f"{place}: pairs are told by name, and {' and '.join(map(repr, several))} "
                        f"are {what} of one name: remove or rename all but one"
                    )
        return {known[name][0]: found[0] for name, found in given.items()}
    raise UserError(
        f"{place}: {len(strange)} of {len(images)} images are named like no original, the first "
        f"is {given[strange[0]][0]!r}; originals are named like {originals[0]!r}. Where both lie "
        f"in one order, say so with pairs=order"
    )


def pairs_in_order(
    originals: Sequence[str], images: Sequence[str], place: str
) -> Mapping[str, str]:
    """Pair the first image with the first original; raise `UserError` where one has more."""
    if len(originals) != len(images):
        raise UserError(
            f"{place}: pairs=order needs as many images as originals, there are {len(images):,} "
            f"and {len(originals):,}"
        )
    return dict(zip(originals, images, strict=True))


def _by_name(names: Iterable[str], name_of: Callable[[str], str]) -> Mapping[str, list[str]]:
    found = defaultdict(list)
    for name in names:
        found[name_of(name)].append(name)
    return dict(found)
