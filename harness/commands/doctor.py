"""`uwt-eval doctor`: what works on this machine, checked in seconds before hours of work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import Json, terminal
from harness.interfaces.errors import ExitCode

if TYPE_CHECKING:
    from harness.doctor.finding import Finding


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Ask neither lmms-eval nor the judges' endpoint.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check packages, devices, files, data, disk and judge; exit 2 where something is broken.

    Every warning and error says what mends it.
    """
    findings = []
    console = terminal(soft_wrap=True, highlight=False)
    marks = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]"}
    for finding in _findings(quick=quick):
        findings.append(finding)
        if not as_json:  # Each as it is known: some checks take their time.
            console.print(marks.get(finding.level, "[red]error  [/red]"), end=" ")
            console.print(f"{finding.name}: {finding.text}", markup=False)
            if finding.fix:
                console.print(f"        fix: {finding.fix}", markup=False, style="dim")
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(ExitCode.USAGE)


def _findings(*, quick: bool) -> Iterator[Finding]:
    """The machine's own, while what has to be waited for is on its way."""
    from harness.doctor import files, machine, software, waiting

    with waiting.asked(quick=quick) as answers:
        for part in (software, machine, files):
            yield from part.find()
        yield from answers
