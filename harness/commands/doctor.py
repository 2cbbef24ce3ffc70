"""`uwt-eval doctor`: what works on this machine, checked in seconds before hours of work."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import typer

from harness.commands.console import Json, terminal
from harness.interfaces.errors import ExitCode


def doctor(as_json: Json = False) -> None:
    """Check packages, devices, files, data, disk and judge; exit 2 where something is broken.

    Every warning and error says what mends it.
    """
    from harness.doctor import files, judge, machine, software

    findings = []
    console = terminal(soft_wrap=True, highlight=False)
    marks = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]"}
    for finding in itertools.chain.from_iterable(
        part.find() for part in (software, machine, files, judge)
    ):
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
