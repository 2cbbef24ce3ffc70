"""`uwt-eval leaderboard`: ranked tables of results, and a check of records from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import Json, Plugins, terminal
from harness.interfaces.errors import ExitCode, counted, json_text
from harness.interfaces.registry import load_plugins
from reports.commands import DefaultCommand

app = typer.Typer(
    cls=DefaultCommand,
    no_args_is_help=True,
    help="Rank results: `leaderboard PATHS --out FILE`; `leaderboard check PATHS` checks records.",
)

Paths = Annotated[
    list[Path], typer.Argument(help="Run directories, record files, or folders of them.")
]


@app.command()
def build(
    paths: Paths,
    out: Annotated[Path, typer.Option(help="Markdown file.")] = Path("LEADERBOARD.md"),
    html: Annotated[Path | None, typer.Option(help="A page that sorts and filters.")] = None,
    by: Annotated[str | None, typer.Option(help="Metric to rank by.")] = None,
    plugin: Plugins = None,
) -> None:
    """Rank results of the same task, protocol and samples; write Markdown, and HTML on request."""
    from reports.files import check_ending, write_text
    from reports.leaderboard.board import build as build_board
    from reports.leaderboard.outputs import to_html, to_markdown
    from reports.records import load_records

    check_ending("--out", out, [".md"], ", it is Markdown (--html writes a page)")
    if html is not None:
        check_ending("--html", html, [".html", ".htm"])
    load_plugins(plugin)
    groups = build_board(load_records(paths), by)
    write_text(out, to_markdown(groups))
    if html is not None:
        write_text(html, to_html(groups))
    entries = sum(len(group.entries) for group in groups)
    files = out if html is None else f"{out} and {html}"
    print(f"{counted(entries, 'result')} in {counted(len(groups), 'table')}: {files}")


@app.command()
def check(paths: Paths, plugin: Plugins = None, as_json: Json = False) -> None:
    """Refuse records that do not follow from their run's files, or of another schema; exit 2."""
    from reports.leaderboard.check import check as check_records

    load_plugins(plugin)
    findings = check_records(paths)
    refused = [finding for finding in findings if finding.problems]
    if as_json:
        facts = [
            {
                "path": str(finding.path),
                "run_id": None if finding.record is None else finding.record.run_id,
                "accepted": not finding.problems,
                "checked_against": finding.checked,
                "problems": finding.problems,
            }
            for finding in findings
        ]
        print(json_text(facts))
    else:
        console = terminal(highlight=False, soft_wrap=True)
        for finding in refused:
            for problem in finding.problems:
                console.print(f"refused: {finding.path}: {problem}", markup=False, style="red")
        alone = sum(finding.checked == "itself alone" for finding in findings)
        console.print(
            f"{counted(len(findings), 'record')}, {len(refused):,} refused"
            + (f", {alone:,} without the run's files: checked in themselves only" if alone else "")
        )
    if refused:
        raise typer.Exit(ExitCode.USAGE)
