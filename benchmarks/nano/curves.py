"""Draw a training run's curves: `python -m benchmarks.nano.curves RUN curves.png`."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from uniwetok.train.engine.logs import read_log


def draw(run: Path, target: Path) -> None:
    """Draw the training L1 and the validation's PSNR and SSIM against the step.

    Raises:
        ValueError: the run has logged nothing.
    """
    rows = read_log(run)
    if not rows:
        raise ValueError(f"{run} has no log.jsonl with lines; give the --out of a training run")
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, kind, name, label in zip(
        figure.subplots(1, 3),
        ("train", "validation", "validation"),
        ("l1", "psnr", "ssim"),
        ("L1 in training, range [-1, 1]", "held-out PSNR, dB", "held-out SSIM"),
        strict=True,
    ):
        points = [(row["step"], row[name]) for row in rows if row["kind"] == kind and name in row]
        axes.plot(*zip(*points, strict=True), marker="." if kind == "validation" else "")
        axes.set(xlabel="step", title=label)
        axes.grid(alpha=0.3)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="--out of `uwt-eval train tokenizer`")
    parser.add_argument("target", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    try:
        draw(arguments.run, arguments.target)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
