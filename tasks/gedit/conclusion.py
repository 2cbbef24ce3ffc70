"""What a GEdit-Bench result leaves beside its record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from harness.data.store import Store
from harness.interfaces.errors import DecodeError
from harness.interfaces.types import Status
from tasks.gallery import Card, Shot, Verdict, card_of, write_gallery
from tasks.gedit.cells import Usage, read_usage
from tasks.gedit.edits import GROUPS, edited_path, source_path

if TYPE_CHECKING:
    import pandas as pd

GROUPS_FILE = "groups.csv"
JUDGE_FILE = "judge.json"
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
    store.write_json(JUDGE_FILE, _judge(rows))
    cards = list(_cards(root, rows, instructions))
    write_gallery(root, f"{title} (right: an overall score of {GOOD:g} or more of 10)", cards)


def _groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Means of every group in both sets, with samples and failures."""
    import pandas as pd

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


def _judge(rows: pd.DataFrame) -> dict[str, Any]:
    """What judging cost and how often it failed, over all samples."""
    total = Usage()
    for text in rows["usage"]:
        if isinstance(text, str) and text:
            total.merge(read_usage(text))
    statuses = rows["status"].value_counts()
    return {
        "replies": total.replies,
        "prompt_tokens": total.prompt_tokens,
        "completion_tokens": total.completion_tokens,
        "cost_usd": total.cost if total.priced == total.replies > 0 else None,
        "models": dict(total.models.most_common()),
        "statuses": {name: int(count) for name, count in statuses.items()},
    }


def _cards(root: Path, rows: pd.DataFrame, instructions: Mapping[str, str]) -> Iterator[Card]:
    for cells in rows.to_dict("records"):
        row = {str(column): cell for column, cell in cells.items()}
        name = row["id"]
        group = name.partition("/")[0]
        card = card_of(row, instructions[name], list(_shots(root, name, row)), _verdict, group)
        # Also where a reply could not be read: its words say more than the error does.
        yield replace(card, words=_words(row.get("replies")))


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
