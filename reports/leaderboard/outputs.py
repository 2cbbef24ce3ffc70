"""A leaderboard as Markdown and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from harness.commands.console import NOTHING, label, left_out
from harness.commands.formats import markdown
from harness.interfaces import Label
from harness.interfaces.errors import one_line
from harness.interfaces.types import ResultRecord
from reports.leaderboard.board import Entry, Group
from reports.records import why_missing
from reports.templates import render
from reports.text import code

RULE = (
    "Rank = 1 + the number of entries whose 95% interval lies wholly on the better side of this "
    "entry's interval; = marks ties. Entries compare within one table only: same task version, "
    "protocol digest and samples."
)


def provenance_of(record: ResultRecord) -> dict[str, str]:
    """When, with what and from which code a result came, as far as the record says."""
    facts = record.provenance
    found = facts.get("code")
    commit = str(found.get("commit") or "")[:12] if isinstance(found, dict) else ""
    if commit and isinstance(found, dict) and found.get("dirty"):
        commit += "+changes"
    packages = facts.get("packages")
    version = str(packages.get("uwt-eval") or "") if isinstance(packages, dict) else ""
    return {
        "date": _date(facts.get("finished") or facts.get("started")),
        "code": commit,
        "version": version,
    }


def _date(value: object) -> str:
    try:
        return datetime.fromisoformat(str(value)).date().isoformat()
    except ValueError:
        return ""


def rank_text(entry: Entry) -> str:
    """'1', '2=' for a tie, or a dash."""
    return NOTHING if entry.rank is None else f"{entry.rank}{'=' if entry.tied else ''}"


def _forms(group: Group) -> dict[str, Label]:
    """How each metric is printed: asked once, not for every cell."""
    return {metric: label(metric) for metric in group.better}


def _ranked(group: Group) -> str:
    return f"Ranked by {markdown(group.ranking)}" if group.ranking else "Not ranked"


def to_markdown(groups: Sequence[Group]) -> str:
    """Tables in Markdown, a group each."""
    lines = ["# Leaderboard", "", markdown(RULE), ""]
    for group in groups:
        forms = _forms(group)
        lines += [f"## {markdown(group.name)}", ""]
        lines += [
            f"{_ranked(group)}; protocol "
            f"{code(group.protocol_digest[:12])}, samples {code(group.dataset_digest[:12])}, "
            f"task version {group.task_version}",
            "",
        ]
        heads = [markdown(heading) for heading in group.headings]
        lines.append(
            "| # | model | " + " | ".join([*heads, "failed", "run", "date", "code"]) + " |"
        )
        lines.append("|--:|---|" + "--:|" * (len(heads) + 1) + "---|---|---|")
        lines += [_row(entry, forms) for entry in group.entries]
        for entry in group.entries:
            if entry.why:
                name = f"{_name(entry)} ({code(entry.record.run_id)})"
                lines += ["", f"{NOTHING} {name}: no rank, {markdown(entry.why)}"]
            for note in _left_out(entry, forms):
                name = f"{_name(entry)} ({code(entry.record.run_id)})"
                lines += ["", f"† {name}: {markdown(note)}"]
        lines.append("")
    return "\n".join(lines)


def _left_out(entry: Entry, forms: Mapping[str, Label]) -> Iterator[str]:
    """Metrics over fewer samples than others of the entry, and why."""
    for metric, form in forms.items():
        if over := left_out(entry.record, metric):
            yield f"{form.title} {over}"


def _name(entry: Entry) -> str:
    return markdown(" · ".join(filter(None, (entry.record.model, entry.apart))))


def _row(entry: Entry, forms: Mapping[str, Label]) -> str:
    record = entry.record
    origin = provenance_of(record)
    cells = [rank_text(entry), _name(entry)]
    for metric, form in forms.items():
        text, span = _texts(record, metric, form)
        cells.append(f"{text} [{span.replace(' to ', ', ')}]" if span else text)
    cells += [
        str(record.n_failed),
        code(record.run_id),
        origin["date"],
        code(origin["code"]) if origin["code"] else "",
    ]
    return f"| {' | '.join(cells)} |"


def _texts(record: ResultRecord, metric: str, form: Label) -> tuple[str, str]:
    """A value, marked where it leaves samples out, and its interval, empty where there is none."""
    cell = record.metrics.get(metric)
    if cell is None or cell.value is None:
        return NOTHING, ""
    text = form.text(cell.value) + ("†" if left_out(record, metric) else "")
    if cell.ci_low is None or cell.ci_high is None:
        return text, ""
    return text, f"{form.text(cell.ci_low)} to {form.text(cell.ci_high)}"


def to_html(groups: Sequence[Group]) -> str:
    """One page without outside parts: tables that sort and filter, a run's record on a click."""
    tables = (
        {
            "name": one_line(group.name),
            "protocol": group.protocol,
            "protocol_digest": group.protocol_digest,
            "dataset_digest": group.dataset_digest,
            "task": group.task,
            "task_version": group.task_version,
            "ranked_by": group.ranking,
            "metrics": group.headings,
            "entries": _html_entries(group),
            "records": _records_json([entry.record for entry in group.entries]),
        }
        for group in groups
    )
    return render(
        "leaderboard.html.j2",
        rule=RULE,
        tables=tables,
        tasks=sorted({group.task for group in groups}),
        protocols=sorted({group.protocol for group in groups}),
    )


def _html_entries(group: Group) -> Iterator[dict[str, Any]]:
    forms = _forms(group)
    for entry in group.entries:
        record = entry.record
        cells = []
        for metric, form in forms.items():
            cell = record.metrics.get(metric)
            absent = cell is None or cell.value is None
            why = why_missing(record, metric) if absent or cell is None else cell.note
            cells.append((*_texts(record, metric, form), why))
        yield {
            "rank": rank_text(entry),
            "why": entry.why,
            "model": one_line(record.model),
            "apart": one_line(entry.apart),
            "cells": cells,
            "left_out": list(_left_out(entry, forms)),
            "failed": record.n_failed,
            "run_id": record.run_id,
            "origin": " ".join(filter(None, provenance_of(record).values())),
        }


_APART = {"metrics", "provenance", "model", "run_id"}
_FIELDS = [name for name in ResultRecord.model_fields if name not in _APART]


def _records_json(records: Sequence[ResultRecord]) -> Markup:
    """What cells do not show, as JSON: what all records share, then what each has besides.

    Ten thousand records differ in little: each in full would be most of the page.
    """
    whole = [{name: getattr(record, name) for name in _FIELDS} for record in records]
    origins = [record.provenance for record in records]
    shared, shared_origin = _shared(whole), _shared(origins)
    names = [
        [name for name in dict.fromkeys(key for each in facts for key in each) if name not in same]
        for facts, same in ((whole, shared), (origins, shared_origin))
    ]
    own = [
        [[facts.get(name) for name in names[0]], [origin.get(name) for name in names[1]]]
        for facts, origin in zip(whole, origins, strict=True)
    ]
    content = {"shared": [shared, shared_origin], "names": names, "own": own}
    text = json.dumps(content, separators=(",", ":"))
    # Inside a script element, and nothing else than text there.
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _shared(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: value
        for name, value in facts[0].items()
        if all(name in each and each[name] == value for each in facts)
    }
