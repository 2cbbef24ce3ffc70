"""Writes the viewer: a page, its script and style, data in pieces as scripts, and pictures."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from harness.commands.pages import page_template
from harness.data.store import check_folder
from harness.interfaces.errors import UserError, plain
from reports.files import write_text
from reports.originals import originals_of
from reports.viewer.collect import FAILED, VERDICT, Group, ViewedRun, failure_of, words_of

PAGE = "index.html"
CHUNK = 250
"""Samples whose words and pictures' names share a file."""
_HERE = Path(__file__).parent
_OWN = ("viewer.js", "viewer.css")
_MADE = ("data", "pictures")
_CALL = b"uwtData("
"""How every data file begins."""


def write_viewer(groups: Sequence[Group], out: Path, data: str | None = None) -> Path:
    """Write the page of all runs; earlier ones in the same folder are replaced.

    Args:
        groups: What to show.
        out: The folder.
        data: Where the runs' data lie, for the originals; each task's own place if None.

    Returns:
        The page.

    Raises:
        UserError: The folder holds something else, or cannot be written.
    """
    check_folder(out)
    try:
        if out.exists() and any(out.iterdir()) and not _is_viewer(out):
            raise UserError(f"--out {out}: it holds other files, name a new folder")
        for folder in _MADE:
            shutil.rmtree(out / folder, ignore_errors=True)
            (out / folder).mkdir(parents=True)
        _write_data(out, "index", {"groups": [_about(group) for group in groups]})
        for number, group in enumerate(groups):
            _write_group(out, number, group, data)
        for name in _OWN:
            shutil.copyfile(_HERE / name, out / name)
        write_text(out / PAGE, page_template(_HERE / "index.html.j2", beside=True).render())
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    return out / PAGE


def _is_viewer(folder: Path) -> bool:
    """Whether an earlier viewer lies there, whole or not."""
    index = folder / "data" / "index.js"
    return index.is_file() and index.read_bytes().startswith(_CALL)


def _about(group: Group) -> dict[str, Any]:
    return {
        "title": group.title,
        "chunk": CHUNK,
        "runs": [
            {"name": name, "run_id": run.loaded.record.run_id}
            for name, run in zip(group.names, group.runs, strict=True)
        ],
        "metrics": [
            {
                "title": each.label.title,
                "digits": each.label.digits,
                "percent": each.label.percent,
                "better": each.better,
                "own": each.name in {FAILED, VERDICT},
            }
            for each in group.metrics
        ],
    }


def _write_group(out: Path, number: int, group: Group, data: str | None) -> None:
    (out / "data" / str(number)).mkdir()
    shown = _Pictures(out, number)
    kept = {name for run in group.runs for name in run.kept}
    originals = originals_of([run.loaded for run in group.runs], kept, data)
    values = [
        [_numbers(run, metric.name, group.ids) for run in group.runs] for metric in group.metrics
    ]
    for place, columns in enumerate(values):
        _write_data(out, f"{number}/m{place}", columns)
    pictured = []
    for start in range(0, len(group.ids), CHUNK):
        entries = []
        for at, name in enumerate(group.ids[start : start + CHUNK], start):
            entry: dict[str, Any] = {
                "r": [
                    _entry(run, name, [columns[place][at] for columns in values])
                    | shown.of(place, at, run.pictures_of(name))
                    if name in run.place
                    else 0
                    for place, run in enumerate(group.runs)
                ]
            }
            if name in originals:
                entry["o"] = shown.original(at, originals[name])
            if "o" in entry or any(each and "p" in each for each in entry["r"]):
                pictured.append(at)
            entries.append(entry)
        _write_data(out, f"{number}/c{start // CHUNK}", entries)
    all_have = len(pictured) == len(group.ids)
    _write_data(
        out, f"{number}/ids", {"ids": group.ids, "pictured": None if all_have else pictured}
    )


def _numbers(run: ViewedRun, metric: str, ids: Iterable[str]) -> list[float | None]:
    """A run's values in the group's order, with six digits; None where it has none."""
    if metric not in run.values:
        return [None for _ in ids]
    values = run.values[metric].tolist()
    found = (values[run.place[name]] if name in run.place else None for name in ids)
    return [None if each is None or each != each else float(f"{each:.6g}") for each in found]


def _entry(run: ViewedRun, name: str, values: list[float | None]) -> dict[str, Any]:
    row = run.place[name]
    entry: dict[str, Any] = {"v": values}
    if failure := failure_of(run, row):
        entry["s"] = failure
    if words := dict(words_of(run, row)):
        entry["t"] = words
    if card := run.cards.get(name):
        entry["c"] = [card.title, card.verdict, card.good, card.words, card.group]
    return entry


class _Pictures:
    """Copies a group's pictures under names of the viewer's own; links where the disk can."""

    def __init__(self, out: Path, group: int) -> None:
        self._out, self._group = out, group

    def of(self, run: int, sample: int, shots: Sequence[tuple[Path | None, str]]) -> dict[str, Any]:
        """What a sample's entry says of its pictures; nothing where it has none."""
        pairs = []
        for number, (path, caption) in enumerate(shots):
            target = None
            if path is not None:
                target = self._name(f"{run}", f"{sample:06d}-{number}{path.suffix.lower()}")
                try:
                    os.link(path, self._out / target)
                except OSError:  # Another disk, or one without links.
                    shutil.copyfile(path, self._out / target)
            pairs.append([target, caption])
        return {"p": pairs} if pairs else {}

    def original(self, sample: int, image: Image.Image) -> str:
        """Write an original; its name for the page."""
        target = self._name("originals", f"{sample:06d}.png")
        image.save(self._out / target)
        return target

    def _name(self, folder: str, name: str) -> str:
        target = f"pictures/{self._group}/{folder}"
        (self._out / target).mkdir(parents=True, exist_ok=True)
        return f"{target}/{name}"


def _write_data(out: Path, name: str, value: Any) -> None:
    """Write a value as a script, since a page from disk may run scripts and fetch nothing."""
    text = json.dumps(_harmless(value), separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("&", "\\u0026")
    # Not in one step and synced, as results are: the whole folder can be written again.
    script = f"{json.dumps(name)},{text})\n".encode("ascii")
    (out / "data" / f"{name}.js").write_bytes(_CALL + script)


def _harmless(value: Any) -> Any:
    """The same value with texts that steer no reader."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): _harmless(each) for key, each in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], float):
        return [_harmless(each) for each in value]
    return value
