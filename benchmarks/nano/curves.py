"""Draw a training run's curves: `python -m benchmarks.nano.curves RUN curves.png`."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from uniwetok.train.engine.logs import read_log

_CURVES = (
    ("L1 in training, range [-1, 1]", "train", "l1"),
    ("held-out PSNR, dB", "validation", "psnr"),
    ("held-out SSIM", "validation", "ssim"),
)
"""Title, kind of line and value."""


def draw(run: Path, target: Path) -> None:
    """Draw the training L1, and PSNR and SSIM of validations that have them, against the step.

    Raises:
        ValueError: the run has logged nothing.
    """
    rows = read_log(run)
    if not rows:
        raise ValueError(f"{run} has no log.jsonl with lines; give the --out of a training run")
    curves = {
        title: (
            kind,
            [(row["step"], row[name]) for row in rows if row["kind"] == kind and name in row],
        )
        for title, kind, name in _CURVES
    }
    curves = {title: curve for title, curve in curves.items() if curve[1]}
    figure = Figure(figsize=(3 * len(curves), 2.8), layout="constrained")
    for axes, (title, (kind, points)) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        axes.plot(*zip(*points, strict=True), marker="." if kind == "validation" else "")
        axes.set(xlabel="step", title=title)
        axes.grid(alpha=0.3)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="--out of `benchmarks.nano.train`")
    parser.add_argument("target", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    try:
        draw(arguments.run, arguments.target)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
