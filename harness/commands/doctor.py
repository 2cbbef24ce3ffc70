"""`uwt-eval doctor`: what works on this machine, checked in seconds before hours of work."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.console import Console

from harness.commands.options import Json
from harness.interfaces.errors import ExitCode


def doctor(as_json: Json = False) -> None:
    """Check packages, devices, files, data, disk and judge; exit 2 where something is broken.

    Every warning and error says what mends it.
    """
    from harness.doctor import files, judge, machine, software

    findings = [finding for part in (software, machine, files, judge) for finding in part.find()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        console = Console(soft_wrap=True, highlight=False)
        marks = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]"}
        for finding in findings:
            console.print(marks.get(finding.level, "[red]error  [/red]"), end=" ")
            console.print(f"{finding.name}: {finding.text}", markup=False)
            if finding.fix:
                console.print(f"        fix: {finding.fix}", markup=False, style="dim")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(ExitCode.USAGE)
