"""Metrics between two sets of images given as files: what `uwt-eval metrics A B` does.

Described here as a task is, so that listings need not import what computes it.
"""

from __future__ import annotations

from harness.interfaces.types import TaskSpec

ALIASES = {
    "prc": ("precision", "recall", "density", "coverage"),
    "lpips": ("lpips_alex", "lpips_vgg"),
}
"""Short names for metrics that come together."""
BY_NAME = (
    *("ms_ssim", "dists", "dreamsim", "cmmd", "fid_inf"),
    *("fd_dinov2", "fd_dinov2_inf", "kd_dinov2", "kid_few", "rfid", "gfid"),
)
"""Metrics of images that are computed only where they are named."""

FILES = TaskSpec(
    name="files",
    version=1,
    title="Metrics between two sets of images given as files",
    kind="sets",
    interface="",
    dataset="any two sets of images",
    layout="a folder, .zip, .tar, .parquet or Hugging Face dataset folder of images, or an .npz "
    "file",
    metrics=(
        *("fid", "sfid", "kid", "is", "precision", "recall", "density", "coverage"),
        *("psnr", "ssim", "lpips_alex", "lpips_vgg"),
    ),
    protocols=("torch-fidelity", "adm", "clean", "wetok", "exact"),
)
