"""Who made a photograph and under which licence, from the package's own copyright file."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_NOT_FREE = re.compile(r"\b(NC|ND|non-?free|proprietary)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Credit:
    """What the package states of one file."""

    author: str
    """Its copyright line."""
    licence: str
    """Short name of the licence."""
    note: str = ""
    """Its comment, in most cases the address the photograph came from."""

    @property
    def free(self) -> bool:
        """False for terms that forbid commerce or changes."""
        return _NOT_FREE.search(self.licence) is None


def read_credits(copyright_file: str) -> list[tuple[str, Credit]]:
    """(file pattern, credit) pairs of a machine-readable Debian copyright file, else none."""
    pairs = []
    for paragraph in re.split(r"\n\s*\n", copyright_file):
        fields = {
            name.lower(): " ".join(value.split())
            for name, value in re.findall(
                r"^([A-Za-z-]+):[ \t]*((?:.*)(?:\n[ \t].*)*)", paragraph, re.MULTILINE
            )
        }
        if "files" not in fields or "license" not in fields:
            continue
        licence = re.search(r"^License:\s*(.*)", paragraph, re.MULTILINE)
        credit = Credit(
            author=fields.get("copyright", ""),
            licence=licence.group(1).strip() if licence else "",
            note=fields.get("comment", ""),
        )
        pairs += [(pattern, credit) for pattern in fields["files"].split()]
    return pairs


def credit_of(path: str, credits: list[tuple[str, Credit]]) -> Credit | None:
    """The last entry that names this file (not all files), or None.

    Packages install files elsewhere and in other formats than the sources that the entries name,
    so the last three parts of the path have to agree, or all there are, without the extension;
    failing that, the whole file name, if all entries of that name say the same.
    """
    stem = PurePosixPath(path.replace("!", "/")).with_suffix("")
    found = None
    for pattern, credit in credits:
        parts = PurePosixPath(pattern).parts
        if pattern == "*":
            continue
        wanted = PurePosixPath(*parts[-3:])
        wanted = wanted.with_suffix("") if wanted.name.count(".") == 1 else wanted
        if fnmatch.fnmatchcase(f"/{stem}", f"*/{wanted}"):
            found = credit
    if found is None:
        name = PurePosixPath(path).name
        same = {credit for pattern, credit in credits if PurePosixPath(pattern).name == name}
        found = same.pop() if len(same) == 1 else None
    return found
