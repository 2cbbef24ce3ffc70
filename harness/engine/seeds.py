"""One random stream a sample, so that no number depends on batch, process or restart."""

from __future__ import annotations

import hashlib


def sample_seed(run_seed: int, task: str, version: int, sample_id: str) -> int:
    """Seed in [0, 2**63) from run seed, task, task version and sample id, and nothing else."""
    text = f"{run_seed}\0{task}\0{version}\0{sample_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
