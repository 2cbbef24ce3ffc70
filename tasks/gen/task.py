"""Class-to-image generation: images of every class, compared with ImageNet as a set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    from harness.interfaces import ImageFiles
    from harness.sets.images import Reference
    from tasks.gen.data import GenData, GenSettings


class GenTask(FiledTask):
    """Draw images of every class; compare them with a reference set."""

    def open(self, data: str | None, protocol: Protocol) -> GenData:
        """The reference at `data` or at the configured place; without one, only the images."""
        from tasks.gen.data import GenData

        return GenData(*self._opened(data, protocol))

    def open_files(self, data: str | None, protocol: Protocol, images: ImageFiles) -> GenData:
        """The same with images made elsewhere."""
        from tasks.gen.files import GenFiles

        return GenFiles(*self._opened(data, protocol), images)

    def _opened(
        self, data: str | None, protocol: Protocol
    ) -> tuple[GenSettings, Reference | None, str]:
        """The protocol's settings, the reference, and what a user must know."""
        from harness.data.settings import read_settings
        from harness.sets.images import open_reference

        settings: GenSettings = self.settings(protocol)
        notices = []
        if settings.class_names:
            notices.append(
                f"protocol {protocol.name!r} draws {settings.classes} classes of its own, not "
                f"ImageNet's: pictures to look at, and no result to compare with ImageNet's"
            )
            place = data
            needed, given = "images of these classes", "give --data"
        else:
            place = data or read_settings().imagenet_reference
            needed = self.spec.layout
            given = "give --data or set UWT_EVAL_IMAGENET_REFERENCE"
        if place is None:
            notices.append(
                f"no reference given: FID, precision and recall need {needed}; {given}, nothing is "
                f"generated anew then"
            )
        reference = None if place is None else open_reference(place, settings.decode)
        return settings, reference, "; ".join(notices)


IMAGENET_GEN = GenTask(
    TaskSpec(
        name="imagenet-gen",
        version=1,
        title="Class-conditional generation of ImageNet images",
        kind="c2i",
        interface=("ClassToImage", "ImageFiles"),
        dataset="50,000 generated images, 50 a class, against ImageNet's training images",
        layout="ADM's VIRTUAL_imagenet256_labeled.npz, or a folder of images",
        metrics=("gfid", "sfid", "is", "precision", "recall"),
        protocols=("adm", "nano"),
        groups=("table9",),
        default_models=("uniwetok-ar-nano",),
    ),
    PROTOCOLS,
)
