"""`uwt-eval assets`: weight files that metrics need."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from harness.commands.console import Json, terminal

app = typer.Typer(help="Find or fetch the weight files that metrics need.", no_args_is_help=True)


def _state(name: str) -> tuple[str, bool]:
    from harness.data.assets import locate
    from harness.interfaces.errors import Unavailable

    try:
        return str(locate(name)), True
    except Unavailable as reason:
        return str(reason), False


@app.command("list")
def list_assets(as_json: Json = False) -> None:
    """List weight files, and where each lies."""
    from harness.data.assets import ASSETS

    rows = []
    for name, asset in ASSETS.items():
        place, found = _state(name)
        rows.append(
            {
                "name": name,
                "file": asset.filename,
                "megabytes": round(asset.size / 1e6, 1),
                "used_by": asset.used_by,
                "variable": asset.variable,
                "found": found,
                "place": place,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None)
    for column in ("name", "MB", "used by", "where"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "megabytes", "used_by", "place")))
    terminal().print(table)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Assets, or 'all'.")],
) -> None:
    """Download and verify weight files; files already downloaded are only verified."""
    from harness.data.assets import ASSETS, fetch as fetch_one
    from harness.engine.progress import Progress

    progress = Progress(terminal(stderr=True))
    for name in ASSETS if names == ["all"] else names:
        with progress.bar(name) as on_progress:
            path = fetch_one(name, on_progress)
        print(f"{name}: {path}")
