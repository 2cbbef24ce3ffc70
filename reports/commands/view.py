"""`uwt-eval view`: a local page over all runs, samples side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import Plugins, terminal
from harness.interfaces.errors import counted
from harness.interfaces.registry import load_plugins


def view(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("viewer"),
    data: Annotated[
        str | None,
        typer.Option(help="The runs' data, for originals (default: as each had them)."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it to this machine alone.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0: any.")] = 8000,
    plugin: Plugins = None,
) -> None:
    """Write a page that opens from disk: samples of all runs side by side, worst first."""
    from reports.viewer.collect import read_groups
    from reports.viewer.serve import LOOPBACK, server
    from reports.viewer.write import write_viewer

    load_plugins(plugin)
    groups, left_out = read_groups(runs)
    messages = terminal(stderr=True)
    for line in left_out:
        messages.print(f"left out: {line}", markup=False, style="yellow", soft_wrap=True)
    page = write_viewer(groups, out, data)
    count = sum(len(group.runs) for group in groups)
    console = terminal(highlight=False, soft_wrap=True)
    console.print(f"{counted(count, 'run')}: {page}", markup=False)
    if serve:
        with server(out, port) as serving:
            console.print(f"http://{LOOPBACK}:{serving.server_port}/ (Ctrl-C ends it)")
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                return
