"""Checking records line by line, before anything is trained on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from uniwetok.train.data.reading import OnBlock
from uniwetok.train.mllm.data.records import Picture, Record, RecordError
from uniwetok.train.mllm.data.sizes import MOST_STRETCH, SizeRule
from uniwetok.train.mllm.data.source import RecordSource, image_size, read_image
from uwt_images.listing import UnreadableImage

_THREADS = 8
_BLOCK = 512


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a line."""

    file: str
    line: int
    field: str
    problem: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {where}{self.problem}; {self.fix}"


@dataclass
class CheckReport:
    """What a check found."""

    records: int = 0
    """Lines that were looked at."""
    offending: int = 0
    """Records with something wrong."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Good records, by kind."""
    images: int = 0
    """Images that good records name, counted each time."""
    smallest: tuple[int, int] | None = None
    """Height and width of the image with the fewest pixels."""
    largest: tuple[int, int] | None = None
    """Height and width of the image with the most pixels."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong with the first offending lines."""
    damage: tuple[str, ...] = ()
    """Shards that are damaged."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.offending and not self.damage

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {"ok": self.ok, **asdict(self)}


def check_records(
    source: RecordSource,
    rule: SizeRule,
    *,
    most: int,
    decode: bool = False,
    on_record: OnBlock = lambda *_: None,
) -> CheckReport:
    """Check every record, and that its images open and can be resized.

    Args:
        source: the records.
        rule: sizes that images are resized to.
        most: findings that are kept; all are counted.
        decode: decode images whole, in place of reading their headers.
        on_record: called now and then with the records that are checked and the number of all.
    """
    report = CheckReport(damage=tuple(source.damage))
    kinds: Counter[str] = Counter()
    for record, sizes, findings in _checked(source, rule, decode):
        report.records += 1
        if findings:
            report.offending += 1
            report.findings += findings[: most - len(report.findings)]
        elif record is not None:
            kinds[record.kind] += 1
            report.images += len(sizes)
            for size in sizes:
                report.smallest = min(report.smallest or size, size, key=math.prod)
                report.largest = max(report.largest or size, size, key=math.prod)
        if report.records % _BLOCK == 0 or report.records == len(source):
            on_record(report.records, len(source))
    report.kinds = dict(sorted(kinds.items()))
    return report


_Checked = tuple[Record | None, list[tuple[int, int]], list[Finding]]


def _checked(source: RecordSource, rule: SizeRule, decode: bool) -> Iterator[_Checked]:
    look = partial(_look, source, rule, decode)
    with ThreadPoolExecutor(_THREADS) as pool:
        # Block by block: a map over all records at once would hold all their results.
        for start in range(0, len(source), _BLOCK):
            yield from pool.map(look, range(start, min(start + _BLOCK, len(source))))


def _look(source: RecordSource, rule: SizeRule, decode: bool, index: int) -> _Checked:
    file, line = source.where(index)
    try:
        record = source.record(index)
    except RecordError as error:
        return None, [], [Finding(file, line, error.field, error.problem, error.fix)]
    sizes, findings = [], []
    for picture in record.pictures:
        try:
            size = _size(source, index, picture, decode)
        except UnreadableImage as error:
            fix = "repair it, or remove the record"
            findings.append(Finding(file, line, picture.field, str(error), fix))
            continue
        sizes.append(size)
        if rule.stretch(*size) > MOST_STRETCH:
            height, width = size
            to = "x".join(map(str, rule.nearest(*size)))
            problem = f"{picture.name} of {height}x{width} pixels would be stretched to {to}"
            findings.append(Finding(file, line, picture.field, problem, "crop it"))
    return record, sizes, findings


def _size(source: RecordSource, index: int, picture: Picture, decode: bool) -> tuple[int, int]:
    if not decode:
        return image_size(source, index, picture.name)
    image = read_image(source, index, picture.name)
    return image.height, image.width
