"""Reconstruction: how much of an image survives encoding and decoding, at which rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.interfaces.types import Protocol, TaskSpec
from tasks.shared.task import FiledTask

if TYPE_CHECKING:
    from tasks.recon.data import ReconData

METRICS = (
    "bpp",
    "psnr",
    "ssim",
    "lpips_alex",
    "lpips_vgg",
    "rfid",
    "usage_pooled",
    "usage_group",
    "usage_joint",
)
DEFAULTS = ("uniwetok-nano", "webp", "jpeg", "avif")
"""The tokenizer that ships, and codecs at its rate."""


class ReconTask(FiledTask):
    """Encode and decode every image of a data set; compare with the original.

    Args:
        spec: The task's description.
        setting: Field of `harness.data.settings.Settings` that holds the usual data path.
        subfolders: Folders below a data path that are taken in its place where they exist.
    """

    def __init__(self, spec: TaskSpec, setting: str, subfolders: tuple[str, ...] = ()) -> None:
        super().__init__(spec)
        self._setting = setting
        self._subfolders = subfolders

    def open(self, data: str | None, protocol: Protocol) -> ReconData:
        """The images at `data`, at the configured place, or the embedded sample set."""
        from harness.data.settings import read_settings
        from tasks.recon.data import ReconData

        settings = self.settings(protocol)
        place = data or getattr(read_settings(), self._setting)
        if place is None:
            from tasks.shared.sample_set import SampleSet

            return ReconData(
                SampleSet(),
                settings,
                label="sample-set",
                notice=(
                    f"no data given: this is the embedded sample set, not {self.spec.dataset}. "
                    f"For numbers to compare, give --data or set "
                    f"UWT_EVAL_{self._setting.upper()} to {self.spec.layout}"
                ),
            )
        from harness.data.sources import open_source

        source = open_source(place, self.spec.layout, self._subfolders)
        return ReconData(source, settings, label=Path(place).name or str(place), notice="")


_IMAGENET_LAYOUT = (
    "a folder with val/CLASS/IMAGE.JPEG, a flat folder of images, a .zip or .tar of either, "
    "or a Hugging Face dataset folder"
)
_COCO_LAYOUT = (
    "a folder with val2017/IMAGE.jpg, a flat folder of images, a .zip or .tar of either, "
    "or a Hugging Face dataset folder"
)


def _spec(name: str, title: str, kind: str, dataset: str, layout: str, *groups: str) -> TaskSpec:
    return TaskSpec(
        name=name,
        version=1,
        title=title,
        kind=kind,
        interface="VisualTokenizer",
        dataset=dataset,
        layout=layout,
        metrics=METRICS,
        protocols=("wetok", "exact"),
        groups=groups,
        default_models=DEFAULTS,
    )


IMAGENET_RECON = ReconTask(
    _spec(
        "imagenet-recon",
        "Reconstruction of ImageNet validation images at 256x256",
        "recon",
        "the 50,000 ImageNet validation images",
        _IMAGENET_LAYOUT,
        "table1",
        "table4",
        "table5",
        "table6",
        "table7",
        "table8",
        "table10",
    ),
    setting="imagenet",
    subfolders=("val",),
)
IMAGENET_RECON_NATIVE = ReconTask(
    _spec(
        "imagenet-recon-native",
        "Reconstruction of ImageNet validation images at original resolution",
        "recon-native",
        "the 50,000 ImageNet validation images",
        _IMAGENET_LAYOUT,
        "table10",
    ),
    setting="imagenet",
    subfolders=("val",),
)
COCO_RECON = ReconTask(
    _spec(
        "coco-recon",
        "Reconstruction of MS-COCO val2017 images at 256x256",
        "recon",
        "the 5,000 MS-COCO val2017 images",
        _COCO_LAYOUT,
        "table10",
    ),
    setting="coco",
    subfolders=("val2017",),
)
COCO_RECON_NATIVE = ReconTask(
    _spec(
        "coco-recon-native",
        "Reconstruction of MS-COCO val2017 images at original resolution",
        "recon-native",
        "the 5,000 MS-COCO val2017 images",
        _COCO_LAYOUT,
        "table10",
    ),
    setting="coco",
    subfolders=("val2017",),
)
