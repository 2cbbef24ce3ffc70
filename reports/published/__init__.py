"""Tables that others have published, one TOML file each: ours, users' and those of plug-ins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.engine.protocols import read_toml
from harness.interfaces.errors import UserError, did_you_mean
from harness.interfaces.protocols import check
from harness.interfaces.registry import TABLES as COLLECTIONS, TASKS
from harness.interfaces.types import Record
from reports.tables.filled import COMPARISONS, measures_of
from reports.tables.lint import structure_problems

TABLES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""Those that ship, by name."""
Texts = dict[str, str]


class Source(Record):
    """Where figures were published."""

    title: str
    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Column(Record):
    """A column of figures."""

    table: str = "values"
    metric: str
    heading: str
    better: Literal["higher", "lower"]
    percent: bool = False


class Published(Record):
    """A file; rows hold `method`, facts, and their figures by block of columns."""

    title: str
    source: Source
    measures: Annotated[tuple[Column, ...], Field(min_length=1)]
    rows: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    tasks: Texts = Field({})
    """Our tasks that measure such figures, and the group of rows below which they stand."""
    images: dict[str, Annotated[int, Field(ge=1)]] = Field({})
    """Samples of each task, where they are known."""
    protocols: Texts = Field({})
    """The protocol that the figures of each task were measured under, where it is known: a name, or
    a protocol file beside the table."""
    facts: Texts = Field({})
    groups: Texts = Field({})
    spans: Texts = Field({})
    notes: tuple[str, ...] = ()


def find_tables(files: Iterable[Path] = ()) -> dict[str, Path]:
    """Published tables by name: of the files, which are named without their ending, and installed.

    Raises:
        UserError: Two files of one name, or one with the name of a table that is there.
    """
    taken: dict[str, Any] = {"all": None} | {f"table{number}": None for number in COMPARISONS}
    for tables in COLLECTIONS.ask(dict).values():
        taken |= tables
    known = {name: path for name, path in taken.items() if isinstance(path, Path)}
    for path in files:
        if path.stem in {*taken, *known} and known.get(path.stem) != path:
            raise UserError(f"--published {path}: a table {path.stem!r} is there, rename the file")
        known[path.stem] = path
    return known


def read_published(path: Path) -> dict[str, Any]:
    """A table as the paper's are read, under the name of its file.

    Raises:
        UserError: The file cannot be read, or a key or a value is not as a table has it.
    """
    content = read_toml(path, f"table {path}")
    found = check(Published, content)
    if isinstance(found, list):
        raise UserError(f"table {path}: {'.'.join(found[0].place)!r} {found[0].text}")
    for task in found.tasks:
        if task not in TASKS:
            hint = did_you_mean(task, TASKS.names())
            raise UserError(f"table {path}: 'tasks.{task}' is no task: {hint}")
    protocols = _checked_protocols(path, found)
    for column in found.measures:
        if found.spans and column.table not in found.spans:
            raise UserError(f"table {path}: 'spans.{column.table}' is missing")
    blocks = {column.table for column in found.measures}
    for at, row in enumerate(found.rows, 1):
        place = f"table {path}: row {at}"
        if not isinstance(row.get("method"), str):
            raise UserError(f"{place}: 'method' is missing, or no text")
        for block in blocks & row.keys():
            _check_figures(row[block], f"{place}, {row['method']}: {block!r}")
    table = {"table": path.stem, **content, "protocols": protocols}
    for at, row in enumerate(table["rows"], 1):
        for text in structure_problems(table, row, measures_of(table)):
            raise UserError(f"table {path}: row {at}, {row['method']}: {text}")
    return table


def _checked_protocols(path: Path, found: Published) -> Texts:
    """The names of a table's protocols, as records have them."""
    for key, given in (("images", found.images), ("protocols", found.protocols)):
        for task in given:
            if task not in found.tasks:
                hint = did_you_mean(task, found.tasks)
                raise UserError(f"table {path}: '{key}.{task}' is none of its 'tasks': {hint}")
    names = {}
    for task, name in found.protocols.items():
        own = str(path.parent / name) if name.endswith(".toml") else name
        try:
            names[task] = TASKS.get(task).protocol(own).name
        except UserError as error:
            raise UserError(f"table {path}: 'protocols.{task}': {error}") from error
    return names


def _check_figures(figures: Any, place: str) -> None:
    if not isinstance(figures, Mapping):
        raise UserError(f"{place} is no table of figures, as {{ psnr = 23.26 }}")
    for metric, value in figures.items():
        if type(value) not in {int, float}:
            raise UserError(f"{place}: '{metric}' is {value!r}, which is no figure")
