"""What every table says of the machine it was measured on."""

from __future__ import annotations

from harness.engine.provenance import machine, package_versions


def headline() -> str:
    """Processor count, device, Python and the versions that matter, in one line."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts, packages = machine(device), package_versions()
    where = facts.get("gpu", f"{facts['cpus']} CPUs")
    return f"{where}, Python {facts['python']}, torch {packages['torch']}"
