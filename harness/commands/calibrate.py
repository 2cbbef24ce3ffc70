"""`uwt-eval calibrate`: do the metrics on this machine order known damage as they must."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from harness.commands.console import Json, terminal
from harness.interfaces.errors import ExitCode


def calibrate(
    images: Annotated[str, typer.Argument(help="Any images: folder, .zip, .tar or .npz.")],
    protocol: Annotated[str, typer.Option(help="As for `uwt-eval metrics`.")] = "torch-fidelity",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    as_json: Json = False,
) -> None:
    """Check metrics on canaries: identical images, two halves, ladders of blur and JPEG.

    Exit code 1 where a metric is out of order, 3 where one could not be computed.
    """
    from harness.commands.console import NOTHING, label
    from harness.data.images import DecodeRule
    from harness.engine import protocols
    from harness.engine.progress import Progress
    from harness.engine.world import World, resolve_device
    from harness.sets import FILES
    from harness.sets.calibration import calibrate as measure
    from harness.sets.images import open_images

    messages = terminal(stderr=True)
    progress = Progress(messages, quiet=as_json)
    chosen = protocols.find(protocol, FILES)
    with progress.listing() as on_listing:
        judged = open_images(images, DecodeRule(**chosen.settings["decode"]), on_listing)
    findings = measure(
        judged, chosen, device=resolve_device(device, World()), seed=seed, progress=progress
    )
    if as_json:
        rows = [
            {
                "metric": finding.metric,
                "measured": finding.measured,
                "faults": list(finding.faults),
                "values": {
                    name: cell.model_dump(mode="json") for name, cell in finding.values.items()
                },
            }
            for finding in findings
        ]
        print(json.dumps(rows, indent=2))
    else:
        table = Table(box=box.SIMPLE_HEAD, title=f"canaries · {judged.label} · {chosen.name}")
        table.add_column("set")
        for finding in findings:
            table.add_column(label(finding.metric).title, justify="right")
        for name in findings[0].values:
            cells = [finding.values[name].value for finding in findings]
            texts = [
                NOTHING if value is None else label(finding.metric).text(value)
                for finding, value in zip(findings, cells, strict=True)
            ]
            table.add_row(name, *texts)
        console = terminal()
        console.print(table)
        for finding in findings:
            if finding.faults:
                console.print(f"{finding.metric}: {'; '.join(finding.faults)}", style="bold red")
            elif not finding.measured:
                reason = finding.values["blur 1"].status
                console.print(f"{finding.metric}: {reason}", style="dim", markup=False)
            else:
                console.print(f"{finding.metric}: in order", style="green")
    if any(finding.faults for finding in findings):
        raise typer.Exit(ExitCode.REGRESSION)
    if not all(finding.measured for finding in findings):
        raise typer.Exit(ExitCode.INCOMPLETE)
