"""Chat and generation beside plain `transformers` loops with the same weights, in one run."""

from __future__ import annotations

from benchmarks.process import run_in_one_thread


def main() -> None:
    """Print the table."""
    run_in_one_thread("benchmarks.mllm", ())
