"""Zero-shot classification: how much of a teacher's semantics a tokenizer's codes keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.errors import UserError
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    from tasks.zeroshot.data import ZeroShotData

_IMAGES = 50_000
"""ImageNet's validation images."""


class ZeroShotTask(FiledTask):
    """Embed every image by the model's heads; rank the classes by their vectors.

    Args:
        spec: The task's description.
    """

    def open(self, data: str | None, protocol: Protocol) -> ZeroShotData:
        """The labelled images at `data` or at the configured place."""
        from harness.data.settings import read_settings
        from harness.data.sources import notice_of, open_source
        from tasks.zeroshot.data import ZeroShotData

        place = data or read_settings().imagenet
        if place is None:
            raise UserError(
                f"task {self.spec.name!r} needs labelled images: give --data or set "
                f"UWT_EVAL_IMAGENET to {self.spec.layout}"
            )
        source = open_source(place, self.spec.layout, "validation")
        notice = notice_of(source, place, _IMAGES)
        settings = self.settings(protocol)
        return ZeroShotData(source, settings, Path(place).expanduser(), self.spec.layout, notice)


IMAGENET_ZEROSHOT = ZeroShotTask(
    TaskSpec(
        name="imagenet-zeroshot",
        version=1,
        title="Zero-shot classification of ImageNet validation images from codes",
        kind="zeroshot",
        interface="ImageEmbedder",
        dataset="the 50,000 ImageNet validation images",
        layout="a folder with val/WORDNET_ID/IMAGE.JPEG, or a .zip or .tar of it, or "
        "ILSVRC2012_img_val.tar with ImageNet's devkit beside it",
        metrics=("top1", "top5", "top10", "top1_pre", "top5_pre", "top10_pre"),
        protocols=("clip", "lite"),
        groups=tuple(f"table{number}" for number in range(1, 8)),
    ),
    PROTOCOLS,
)
