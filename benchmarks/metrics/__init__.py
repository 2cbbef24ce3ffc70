"""The metric engine beside its peers: time, error and memory of both in one run."""

from __future__ import annotations

from benchmarks.process import run_in_one_thread


def main(*options: str) -> None:
    """Print the tables."""
    run_in_one_thread("benchmarks.metrics", options)
