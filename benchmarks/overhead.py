"""The harness's own share of a reconstruction run with the paper-size tokenizer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.machine import headline
from harness.engine.progress import Progress
from harness.engine.runner import run
from harness.engine.world import World
from harness.interfaces import Code, RunRequest
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from uniwetok.plugins.tokenizer import TokenizerPlugin

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = 16


@MODELS.register("uniwetok-untrained")
class Untrained:
    """UniWeTok at the paper's size with random weights: the time of a trained one."""

    card = ModelCard(name="uniwetok-untrained")

    def load(self, device: str) -> None:
        """Build the network."""
        from uniwetok.tokenizer import UniWeTok

        self._plugin = TokenizerPlugin(UniWeTok().eval().to(device))

    def encode(self, images: Tensor) -> list[Code]:
        """As the real plug-in does."""
        return self._plugin.encode(images)

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        """As the real plug-in does."""
        return self._plugin.decode(codes, seeds)


def main() -> None:
    """Print where the time of a run goes, in one lane, so that stages add up to the whole."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        request = RunRequest(
            task="imagenet-recon", model="uniwetok-untrained", limit=IMAGES, out=Path(folder)
        )
        finished = run(request, World(), Progress(Console(stderr=True)))
    assert finished is not None
    seconds = dict(finished.timings)
    total = seconds.pop("total")
    model = sum(seconds[stage] for stage in ("model", "generate", "render"))
    metrics = seconds["observe"]
    title = f"a run of {IMAGES} images: {headline()}"
    table = Table()
    for column in ("part", "seconds", "share"):
        table.add_column(column, justify="left" if column == "part" else "right")
    rows = {"model": model, "metrics": metrics, "harness": total - model - metrics, "all": total}
    for name, value in rows.items():
        table.add_row(name, f"{value:.2f}", f"{value / total:.2%}")
    Console(width=100).print(title, table)
