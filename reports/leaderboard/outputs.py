"""A leaderboard as Markdown and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from harness.commands.console import NOTHING
from harness.interfaces.plain import one_line
from harness.interfaces.types import ResultRecord
from reports.leaderboard.board import Entry, Group
from reports.records import why_missing
from reports.templates import render
from reports.text import code, interval, markdown, number

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


def to_markdown(groups: Sequence[Group]) -> str:
    """Tables in Markdown, a group each."""
    lines = ["# Leaderboard", "", markdown(RULE), ""]
    for group in groups:
        metrics = list(group.better)
        lines += [f"## {markdown(group.name)}", ""]
        lines += [
            f"Ranked by {markdown(group.ranking or 'nothing')}; protocol "
            f"{code(group.protocol_digest[:12])}, samples {code(group.dataset_digest[:12])}, "
            f"task version {group.task_version}",
            "",
        ]
        heads = [markdown(heading) for heading in group.headings]
        lines.append(
            "| # | model | " + " | ".join([*heads, "failed", "run", "date", "code"]) + " |"
        )
        lines.append("|--:|---|" + "--:|" * (len(heads) + 1) + "---|---|---|")
        lines += [_row(entry, metrics) for entry in group.entries]
        for entry in group.entries:
            if entry.why:
                name = f"{markdown(entry.record.model)} ({code(entry.record.run_id)})"
                lines += ["", f"{NOTHING} {name}: no rank, {markdown(entry.why)}"]
        lines.append("")
    return "\n".join(lines)


def _row(entry: Entry, metrics: Sequence[str]) -> str:
    record = entry.record
    origin = provenance_of(record)
    cells = [rank_text(entry), markdown(record.model)]
    cells += [_cell(metric, record) for metric in metrics]
    cells += [
        str(record.n_failed),
        code(record.run_id),
        origin["date"],
        code(origin["code"]) if origin["code"] else "",
    ]
    return f"| {' | '.join(cells)} |"


def _cell(metric: str, record: ResultRecord) -> str:
    cell = record.metrics.get(metric)
    if cell is None or cell.value is None:
        return NOTHING
    text = number(metric, cell.value)
    if cell.ci_low is None or cell.ci_high is None:
        return text
    return f"{text} [{interval(metric, cell.ci_low, cell.ci_high).replace(' to ', ', ')}]"


def to_html(groups: Sequence[Group]) -> str:
    """One page without outside parts: tables that sort and filter, a run's record on a click."""
    tables = [
        {
            "name": one_line(group.name),
            "protocol": group.protocol,
            "protocol_digest": group.protocol_digest,
            "dataset_digest": group.dataset_digest,
            "task": group.task,
            "task_version": group.task_version,
            "ranked_by": group.ranking,
            "metrics": group.headings,
            "entries": [_html_entry(entry, list(group.better)) for entry in group.entries],
        }
        for group in groups
    ]
    return render(
        "leaderboard.html.j2",
        rule=RULE,
        tables=tables,
        tasks=sorted({group.task for group in groups}),
        protocols=sorted({group.protocol for group in groups}),
    )


def _html_entry(entry: Entry, metrics: Sequence[str]) -> dict[str, Any]:
    record = entry.record
    cells = []
    for metric in metrics:
        cell = record.metrics.get(metric)
        if cell is None or cell.value is None:
            why = why_missing(record, metric)
            cells.append({"text": NOTHING, "sort": "", "span": "", "why": why})
            continue
        span = interval(metric, cell.ci_low, cell.ci_high)
        cells.append(
            {
                "text": number(metric, cell.value),
                "sort": repr(cell.value),
                "span": "" if span == NOTHING else span,
                "why": cell.note,
            }
        )
    return {
        "rank": rank_text(entry),
        "rank_sort": "" if entry.rank is None else str(entry.rank),
        "why": entry.why,
        "model": one_line(record.model),
        "cells": cells,
        "failed": record.n_failed,
        "run_id": record.run_id,
        "origin": provenance_of(record),
        "record": json.dumps(
            record.model_dump(mode="json", exclude={"metrics"}), indent=1, ensure_ascii=False
        ),
    }
