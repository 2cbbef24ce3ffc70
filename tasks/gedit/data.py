"""Edits under one protocol: originals are given to a model, and its edits to the judge.

Beside its record a result leaves means of groups, what judging cost, and a gallery.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from harness.data.images import decode_image
from harness.data.manifest import choose, list_samples
from harness.data.store import Store
from harness.interfaces import Code, Columns, Extractor, OnProgress, Picture, offers
from harness.interfaces.errors import DecodeError, counted
from harness.interfaces.types import Sample, Status, digest_of
from tasks.gallery import Card, Shot, Verdict, card_of, write_gallery
from tasks.gedit.edits import GROUPS, SIZE, Edit, edited_path, source_path
from tasks.gedit.judging import EditPair
from tasks.gedit.settings import GEditSettings
from tasks.gedit.source import GIVEN, JUDGED, GEditSource
from tasks.shared.pictures import labelled_grid
from tasks.shared.text_to_image import PictureData, text_column
from tasks.shared.usage import write_usage


@dataclass(frozen=True, slots=True)
class Original:
    """An image and what is to be changed in it."""

    edit: Edit
    judged: np.ndarray
    """uint8 (H, W, 3), what the edit is compared with."""
    given: np.ndarray
    """uint8 (H, W, 3), at the size that models edit."""


class GEditData(PictureData):
    """The edits of one language.

    Args:
        source: A copy of the data.
        settings: The protocol's.
        title: Heading of the gallery.
        label: Name of the data for people.
    """

    def __init__(
        self, source: GEditSource, settings: GEditSettings, title: str, label: str
    ) -> None:
        self.label = label
        found = len(source.edits)
        told = f"{counted(found, 'edit')} here, the published data set has {SIZE}"
        self.notice = "" if found == SIZE else told
        self._source = source
        self._settings = settings
        self._title = title

    def layout(self) -> list[str]:
        """Where edits that were made elsewhere may lie."""
        return [edited_path(name) for name in self._source.edits]

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All edits in the data's order, or a fixed choice of `limit` of them."""
        edits = self._source.edits
        chosen = choose(list(edits), limit)
        listed = list_samples(self._source.part(chosen), None, on_progress)
        images = {image.id: image.sha256 for image in listed}
        return [
            Sample(
                id=name,
                index=index,
                sha256=digest_of(
                    [
                        edits[name].instruction,
                        edits[name].intersection,
                        images[f"{JUDGED}:{name}"],
                        images[f"{GIVEN}:{name}"],
                    ]
                ),
            )
            for index, name in enumerate(chosen)
        ]

    def load(self, sample: Sample) -> Original:
        """Decode both originals, the model's at its size."""
        given = self._image(GIVEN, sample.id)
        size = self._settings.input.of_original(*given.size)
        given = given.resize(size, Image.Resampling.BICUBIC)
        judged = self._image(JUDGED, sample.id)
        return Original(self._source.edits[sample.id], np.asarray(judged), np.asarray(given))

    def _image(self, column: str, name: str) -> Image.Image:
        try:
            return decode_image(self._source.read(f"{column}:{name}"), self._settings.decode)
        except DecodeError as error:
            raise DecodeError(f"{column}: {error}") from error

    def generate(self, model: Any, inputs: Sequence[Original], seeds: Sequence[int]) -> list[Code]:
        """Edit every original, or find the edit where it was made elsewhere."""
        if offers(model, "ImageFiles"):
            found: list[Code] = model.read([edited_path(item.edit.id) for item in inputs])
            return found
        edited: list[Code] = model.edit(
            [item.edit.instruction for item in inputs], [item.given for item in inputs], seeds
        )
        return edited

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Original],
        rendered: Sequence[np.ndarray],
    ) -> dict[str, Columns]:
        """Have the edits judged; what the scores are sorted by stands beside them."""
        pairs = [
            EditPair(item.edit.instruction, item.judged, edited)
            for item, edited in zip(inputs, rendered, strict=True)
        ]
        known = about([item.edit for item in inputs])
        return {
            name: {**known, **extractor.observe(pairs)} for name, extractor in extractors.items()
        }

    def picture_path(self, sample: Sample) -> str:
        """The published layout."""
        return edited_path(sample.id)

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write originals and edits side by side."""
        cells: list[tuple[Image.Image | Path, str]] = []
        for picture in pictures:
            original = self.load(picture.sample)
            cells.append((Image.fromarray(original.judged), picture.sample.id))
            cells.append((picture.path, original.edit.instruction))
        labelled_grid(cells).save(target)

    def conclude(self, root: Path, rows: pd.DataFrame) -> None:
        """Write originals beside edits, the groups' figures, the judge's costs and the gallery."""
        write_originals(root, list(rows["id"]), lambda name: self._image(JUDGED, name))
        instructions = {name: edit.instruction for name, edit in self._source.edits.items()}
        conclude(root, rows, self._title, instructions)


def about(edits: Sequence[Edit]) -> Columns:
    """What is known of edits as columns: texts, and whether they lie in the intersection."""
    return {
        "group": text_column([edit.group for edit in edits]),
        "instruction": text_column([edit.instruction for edit in edits]),
        "intersection": np.array([float(edit.intersection) for edit in edits]),
    }


GROUPS_FILE = "groups.csv"
GOOD = 5.0
"""Overall score from which the gallery calls an edit right."""


def write_originals(root: Path, names: Sequence[str], image: Callable[[str], Image.Image]) -> None:
    """Write each original beside its edit, as the published scripts expect it."""
    store = Store(root)
    for name in names:
        target = f"images/{source_path(name)}"
        if (root / target).is_file() or not (root / "images" / edited_path(name)).is_file():
            continue
        try:
            original = image(name)
        except DecodeError:
            continue  # The sample's status says so.
        store.write(target, original.save)


def conclude(
    root: Path,
    rows: pd.DataFrame,
    title: str,
    instructions: Mapping[str, str],
) -> None:
    """Write `groups.csv`, `judge.json` and the gallery.

    Args:
        root: The run directory, with pictures below `images` or without.
        rows: Rows of `samples.parquet`.
        title: Heading of the gallery.
        instructions: By sample id.
    """
    if "overall" not in rows:
        return  # Nothing was judged.
    store = Store(root)
    table = _groups(rows)
    store.write(GROUPS_FILE, lambda path: table.to_csv(path, index=False, lineterminator="\n"))
    write_usage(root, rows)
    cards = list(_cards(root, rows, instructions))
    write_gallery(root, f"{title} (right: an overall score of {GOOD:g} or more of 10)", cards)


def _groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Means of every group in both sets, with samples and failures."""
    group = rows["id"].str.partition("/")[0]
    ok = rows["status"] == Status.OK
    lines = []
    for subset, chosen in (("full", ok), ("intersection", ok & (rows["intersection"] == 1))):
        for name in GROUPS:
            mine = rows[chosen & (group == name)]
            scores = {key: mine[key].mean() for key in ("sc", "pq", "overall")}
            failed = int((~ok & (group == name)).sum()) if subset == "full" else np.nan
            lines.append({"set": subset, "group": name, **scores, "n": len(mine), "failed": failed})
    return pd.DataFrame(lines).astype({"failed": "Int64"})


def _cards(root: Path, rows: pd.DataFrame, instructions: Mapping[str, str]) -> Iterator[Card]:
    for cells in rows.to_dict("records"):
        row = {str(column): cell for column, cell in cells.items()}
        name = row["id"]
        group = name.partition("/")[0]
        card = card_of(row, instructions[name], list(_shots(root, name, row)), _verdict, group)
        # Also where a reply could not be read: its words say more than the error does.
        yield replace(card, verdict=replace(card.verdict, words=_words(row.get("replies"))))


def _verdict(row: Mapping[str, Any]) -> Verdict:
    text = f"SC {row['sc']:.3g} · PQ {row['pq']:.3g} · O {row['overall']:.3f}"
    return Verdict(text, row["overall"] >= GOOD, group=row["id"].partition("/")[0])


def _shots(root: Path, name: str, row: Mapping[str, Any]) -> Iterator[Shot]:
    """Pictures of the run, or those that stored observations name."""
    if (root / "images").is_dir():
        yield Shot(root / "images" / source_path(name), "original")
        yield Shot(root / "images" / edited_path(name), "edit")
        return
    for column, caption in (("source_image", "original"), ("edited_image", "edit")):
        if isinstance(path := row.get(column), str) and path:
            yield Shot(Path(path), caption)


def _words(replies: Any) -> str:
    """The judge's replies, line by line."""
    if not isinstance(replies, str) or not replies:
        return ""
    judgings = json.loads(replies)
    lines = []
    for number, judging in enumerate(judgings, 1):
        prefix = f"{number}. " if len(judgings) > 1 else ""
        lines += [f"{prefix}{kind}: {text}" for kind in ("SC", "PQ") for text in judging[kind]]
        lines += [f"{prefix}refused: {reason}" for reason in judging.get("refused", ())]
    return "\n".join(lines)
