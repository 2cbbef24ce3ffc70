"""Reconstruction: how much of an image survives encoding and decoding, at which rate."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.errors import UserError, counted
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    from harness.data.manifest import ImageSource
    from harness.interfaces import ImageFiles
    from tasks.recon.data import ReconData, ReconSettings
    from tasks.recon.marks import Marks

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
        split: The split that is taken where several lie at the data path.
        images: How many images the benchmark has, where that is known.
    """

    def __init__(
        self, spec: TaskSpec, setting: str, split: str = "validation", images: int | None = None
    ) -> None:
        super().__init__(spec, PROTOCOLS)
        self._setting = setting
        self._split = split
        self._images = images

    def open(self, data: str | None, protocol: Protocol) -> ReconData:
        """The images at `data`, at the configured place, or the embedded sample set."""
        from tasks.recon.data import ReconData

        return ReconData(*self._opened(data, protocol))

    def open_files(self, data: str | None, protocol: Protocol, images: ImageFiles) -> ReconData:
        """The same images beside reconstructions made elsewhere."""
        from tasks.recon.files import ReconFiles

        return ReconFiles(*self._opened(data, protocol), images)

    def _opened(
        self, data: str | None, protocol: Protocol
    ) -> tuple[ImageSource, ReconSettings, str, str]:
        """The images, the protocol's settings, a name for people and what they must know."""
        from harness.data.settings import read_settings

        settings: ReconSettings = self.settings(protocol)
        place = data or getattr(read_settings(), self._setting)
        if place is None:
            return self._embedded(settings)
        from harness.data.sources import notice_of, open_source

        source = open_source(place, self.spec.layout, self._split)
        notice = notice_of(source, place, self._images)
        return source, settings, Path(place).name or str(place), notice

    def _embedded(self, settings: ReconSettings) -> tuple[ImageSource, ReconSettings, str, str]:
        from tasks.shared.sample_set import SampleSet

        notice = (
            f"no data given: this is the embedded sample set, not {self.spec.dataset}. "
            f"For numbers to compare, give --data or set "
            f"UWT_EVAL_{self._setting.upper()} to {self.spec.layout}"
        )
        return SampleSet(), settings, "sample-set", notice


class MarkedReconTask(ReconTask):
    """A reconstruction task on images where something is marked, such as lines of text.

    Args:
        spec: The task's description.
        setting: As of `ReconTask`.
        embedded: 'module:Class' of the images that it has of its own, with `marks`.
        files: Names of the files beside a user's images that hold their marks.
        unmarked: What a user must know of images without such a file.
        texts: Whether marks say what stands there.
    """

    def __init__(
        self,
        spec: TaskSpec,
        setting: str,
        embedded: str,
        files: tuple[str, ...],
        unmarked: str,
        *,
        texts: bool,
    ) -> None:
        super().__init__(spec, setting)
        self._own = embedded
        self._files = files
        self._unmarked = unmarked
        self._texts = texts

    def open(self, data: str | None, protocol: Protocol) -> ReconData:
        """The images at `data`, at the configured place, or those of its own; with their marks."""
        from tasks.recon.marks import MarkedImages

        source, settings, label, notice = self._opened(data, protocol)
        marks, told = self._marks(source, settings)
        return MarkedImages(source, settings, label, "; ".join(filter(None, (notice, told))), marks)

    def open_files(self, data: str | None, protocol: Protocol, images: ImageFiles) -> ReconData:
        """The same images beside reconstructions made elsewhere."""
        from tasks.recon.marks import MarkedFiles

        source, settings, label, notice = self._opened(data, protocol)
        marks, told = self._marks(source, settings)
        notice = "; ".join(filter(None, (notice, told)))
        return MarkedFiles(source, settings, label, notice, marks, images)

    def _embedded(self, settings: ReconSettings) -> tuple[ImageSource, ReconSettings, str, str]:
        module, name = self._own.split(":")
        source = getattr(import_module(module), name)()
        return source, settings, source.label, source.notice

    def _marks(self, source: ImageSource, settings: ReconSettings) -> tuple[Marks | None, str]:
        """What is marked on the images, and what a user must know of it."""
        from tasks.recon.marks import read_marks

        if hasattr(source, "marks"):
            marks: Marks | None = source.marks()
            return marks, ""
        root = getattr(source, "root", None)
        paths = [root / name for name in self._files] if isinstance(root, Path) else []
        there = [path for path in paths if path.is_file()]
        if not there:
            return None, self._unmarked
        if len(there) > 1:
            raise UserError(f"{' and '.join(map(str, there))} are both there: keep one of them")
        path, turned = there[0], settings.decode.exif == "apply"
        read = read_marks(path, source, turned=turned, texts=self._texts)
        bare = len(source.ids()) - len(read)
        return read, f"{path.name} says nothing of {counted(bare, 'image')}" if bare else ""


_SETS = {
    "imagenet": ("val/CLASS/IMAGE.JPEG", "validation", 50_000, "ImageNet validation"),
    "coco": ("val2017/IMAGE.jpg", "val2017", 5_000, "MS-COCO val2017"),
}
"""By the name of its setting: the files below the data path, their split, how many images, what
they are."""


def _task(images: str, *groups: str, native: bool = False) -> ReconTask:
    files, split, count, title = _SETS[images]
    ending = "-native" if native else ""
    size = "original resolution" if native else "256x256"
    spec = TaskSpec(
        name=f"{images}-recon{ending}",
        version=1,
        title=f"Reconstruction of {title} images at {size}",
        kind=f"recon{ending}",
        interface=("VisualTokenizer", "ImageFiles"),
        dataset=f"the {count:,} {title} images",
        layout=f"a folder with {files}, a flat folder of images, a .zip or .tar of either, "
        "a folder of .tar shards, or a Hugging Face dataset folder",
        metrics=METRICS,
        protocols=("wetok", "exact"),
        groups=groups,
        default_models=DEFAULTS,
    )
    return ReconTask(spec, setting=images, split=split, images=count)


IMAGENET_RECON = _task("imagenet", *(f"table{number}" for number in (1, 4, 5, 6, 7, 8, 10)))
IMAGENET_RECON_NATIVE = _task("imagenet", "table10", native=True)
COCO_RECON = _task("coco", "table10")
COCO_RECON_NATIVE = _task("coco", "table10", native=True)
