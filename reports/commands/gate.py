"""`uwt-eval gate`: does a run keep what the baseline had?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import Json, Plugins, terminal
from harness.interfaces.errors import UserError, counted, json_text
from harness.interfaces.registry import load_plugins


def gate(
    run: Annotated[
        list[Path], typer.Argument(help="Run directory, record file, or folder of them.")
    ],
    baseline: Annotated[Path, typer.Option(help="Records to be kept up with.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Bound on the change: psnr>=-0.05, rfid<=+1%, or a metric's name."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help='TOML file with rules = ["psnr>=-0.05", …].')
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Put the run into the baseline; no check.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a summary for a pull request, a .md file.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML, a .xml file.")] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Check a run against a baseline: exit 0 passed, 1 regression, 2 not comparable, 3 incomplete.

    Without rules no metric of the baseline may get surely worse: by the 95% interval of the paired
    differences wherever both sides have the samples.
    """
    from reports.files import check_ending, write_text
    from reports.gate.baseline import (
        read_baseline,
        update_baseline as write_baseline,
        warn_of_unchecked,
    )
    from reports.gate.outputs import show, to_json, to_junit, to_markdown
    from reports.gate.rules import parse_rule, read_rules
    from reports.gate.verdict import judge
    from reports.records import load_records

    if update_baseline and (rule or rules or markdown or junit):
        raise UserError("--update-baseline checks nothing: leave rules and summaries out")
    for option, path, ending in (("--markdown", markdown, ".md"), ("--junit", junit, ".xml")):
        if path is not None:
            check_ending(option, path, [ending])
    load_plugins(plugin)
    runs = load_records(run)
    if update_baseline:
        replaced, new = write_baseline(baseline, runs)
        if as_json:
            print(json_text({"baseline": str(baseline), "replaced": replaced, "new": new}))
        else:
            print(f"{baseline}: {counted(replaced, 'record')} replaced, {new:,} new")
        return
    kept = read_baseline(baseline)
    chosen = [parse_rule(text) for text in rule or []]
    if rules is not None:
        chosen = read_rules(rules) + chosen
    verdict = judge(runs, kept, chosen)
    warn_of_unchecked(kept)
    summary = to_markdown(verdict)
    if markdown is not None:
        write_text(markdown, summary)
    if junit is not None:
        write_text(junit, to_junit(verdict))
    _append_step_summary(summary)
    if as_json:
        print(json_text(to_json(verdict)))
    else:
        show(terminal(), verdict)
    raise typer.Exit(verdict.exit_code)


def _append_step_summary(summary: str) -> None:
    """Show the summary on the page of a GitHub Actions run."""
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return
    try:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(summary + "\n")
    except OSError as error:
        raise UserError(f"GITHUB_STEP_SUMMARY={target} cannot be written: {error.strerror}") from (
            error
        )
