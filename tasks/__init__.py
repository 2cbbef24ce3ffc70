"""Benchmarks, one file each, and the named protocols in `tasks/protocols`."""

from pathlib import Path

PROTOCOLS = Path(__file__).parent / "protocols"
"""The folder of protocol files, found by the harness through an entry point."""
