"""What `uwt-eval metrics A B` computes, described as a task is."""

from __future__ import annotations

from harness.interfaces.types import TaskSpec

FEATURE_METRICS = ("fid", "sfid", "kid", "is", "precision", "recall", "density", "coverage")
PAIR_METRICS = ("psnr", "ssim", "lpips_alex", "lpips_vgg")
ALIASES = {
    "prc": ("precision", "recall", "density", "coverage"),
    "lpips": ("lpips_alex", "lpips_vgg"),
}

FILES = TaskSpec(
    name="files",
    version=1,
    title="Metrics between two sets of images given as files",
    kind="sets",
    interface="",
    dataset="any two sets of images",
    layout="a folder, .zip, .tar or Hugging Face dataset folder of images, or an .npz file",
    metrics=(*FEATURE_METRICS, *PAIR_METRICS),
    protocols=("torch-fidelity", "adm", "clean", "wetok", "exact"),
)
