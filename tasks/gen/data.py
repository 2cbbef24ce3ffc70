"""Classes to draw, as a protocol says, and the reference set: generate, render, observe."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import model_validator

from harness.data.images import DecodeRule, decoded, to_uint8
from harness.interfaces import (
    ClassToImage,
    Code,
    Columns,
    Extractor,
    GeneratedImages,
    OnProgress,
    Picture,
)
from harness.interfaces.errors import UserError
from harness.interfaces.protocols import Count, ModelSettings
from harness.interfaces.types import Sample, Stage, digest_of
from harness.metrics.settings import SetMeasures, TappedInception
from tasks.shared.pictures import labelled_grid

if TYPE_CHECKING:
    from torch import Tensor

    from harness.engine.progress import Progress
    from harness.interfaces import ClassToImage
    from harness.metrics.features import ReferenceFeatures
    from harness.sets.images import Reference


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """The 1,000 names that open_clip gives the classes, in the order of every classifier."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return tuple(IMAGENET_CLASSNAMES)


def own_names(model: ClassToImage) -> tuple[str, ...]:
    """What a model itself calls its classes, in order; nothing where it offers no names."""
    return tuple(getattr(model, "class_names", ()))


def names_of(model: ClassToImage) -> tuple[str, ...]:
    """A model's own names, or ImageNet's for one of as many classes; nothing for any other."""
    names = own_names(model)
    return names or (imagenet_names() if model.classes == len(imagenet_names()) else ())


class GenSettings(SetMeasures, ModelSettings):
    """What a class-to-image task reads of a protocol."""

    decode: Annotated[DecodeRule, Stage.OBSERVE]
    """How a reference that is a folder of image files is decoded."""
    classes: Annotated[Count, Stage.GENERATE]
    """Classes that are drawn, from 0."""
    class_names: Annotated[tuple[str, ...], Stage.GENERATE] = ()
    """Their names; empty for ImageNet's classes."""
    samples_per_class: Annotated[Count, Stage.GENERATE]
    """Images of each."""
    order: Annotated[Literal["cycle", "sorted"], Stage.GENERATE]
    """'cycle' draws one image of every class, then the next of every class; 'sorted' all of a class
    together. Scores over sequential splits depend on it."""
    size: Annotated[Count | None, Stage.OBSERVE] = None
    """Height and width of every image, in pixels; any where None. Networks see images resized, so
    that results of other sizes would not compare and look as if they did."""
    uint8: Annotated[Literal["half-up"], Stage.GENERATE]
    """How float images become 8-bit: the integer part of 127.5 x + 128, clamped."""
    inception: TappedInception

    @model_validator(mode="after")
    def _names_are_those_of_the_classes(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} names for {self.classes} classes"
            )
        return self

    @property
    def described(self) -> str:
        """The classes in words: the first and last name, or ImageNet's."""
        names = self.class_names
        return f"{names[0]!r} to {names[-1]!r}" if names else "ImageNet's"

    def name(self, label: int) -> str:
        """A class's name; empty where it has none."""
        names = self.class_names or imagenet_names()
        return names[label] if label < len(names) else ""

    def label(self, index: int) -> tuple[int, int]:
        """Class of a sample by its place, and how many of that class come before it."""
        if self.order == "sorted":
            return divmod(index, self.samples_per_class)
        number, label = divmod(index, self.classes)
        return label, number


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn image as networks see it, and as it is stored: off a GPU once, with its batch."""

    image: Tensor
    """float32 (3, H, W) in [-1, 1], where the model works."""
    pixels: np.ndarray
    """uint8 (H, W, 3) by the protocol's rule."""


class GenData:
    """Samples known by class and number, and what they are compared with.

    Args:
        settings: The protocol's.
        reference: The reference set; None without one.
        notice: What a user must know.
    """

    concurrent = True

    def __init__(self, settings: GenSettings, reference: Reference | None, notice: str) -> None:
        self.label = "no reference" if reference is None else reference.label
        self.notice = notice
        self.reference_digest = "" if reference is None else reference.digest
        self.side = settings.size
        self._settings = settings
        self._reference = reference

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All samples, or `limit` of them: the first ones, of evenly spaced classes if few."""
        del on_progress
        settings = self._settings
        total = settings.classes * settings.samples_per_class
        places = [settings.label(index) for index in range(min(total, limit or total))]
        if limit is not None and limit < settings.classes:
            labels = np.linspace(0, settings.classes - 1, limit).round().astype(int)
            places = [(int(label), 0) for label in labels]
        names = [f"{label:04d}/{number:02d}" for label, number in places]
        return [
            Sample(id=name, index=index, sha256=digest_of(name)) for index, name in enumerate(names)
        ]

    def load(self, sample: Sample) -> Any:
        """The sample's class."""
        return self.class_of(sample)

    def class_of(self, sample: Sample) -> int:
        """The sample's class, kept in `samples.npz`."""
        return int(sample.id.partition("/")[0])

    def batch_key(self, item: Any) -> Hashable:
        """Any classes may share a batch."""
        del item
        return "all"

    def generate(self, model: Any, inputs: Sequence[Any], seeds: Sequence[int]) -> list[Code]:
        """Draw an image of each class."""
        self._check_classes(model)
        codes: list[Code] = model.sample(inputs, seeds)
        return codes

    def _check_classes(self, model: ClassToImage) -> None:
        """Refuse a model whose classes are not the protocol's."""
        settings = self._settings
        # A model that names no classes is taken at its number of them.
        misnamed = own_names(model) not in {(), settings.class_names}
        surplus = bool(settings.class_names) and model.classes > settings.classes
        if misnamed or surplus or model.classes < settings.classes:
            raise UserError(
                f"model {model.card.title!r} has {model.classes} classes, not the "
                f"{settings.classes} of this protocol, {settings.described}: give --protocol one "
                f"with its classes, as tasks/protocols/nano.toml has uniwetok-ar-nano's"
            )

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[Drawn]:
        """Decode to float32 clamped to [-1, 1], and to 8 bits.

        Raises:
            UserError: Images are not of the protocol's size.
        """
        images = decoded(model.decode(codes, seeds))
        side, (height, width) = self._settings.size, images.shape[2:]
        if side is not None and (height, width) != (side, side):
            raise UserError(
                f"model {model.card.title!r} draws {width}x{height}, this protocol compares "
                f"{side}x{side}: give --protocol a copy with its size"
            )
        return list(map(Drawn, images, to_uint8(images, self._settings.uint8)))

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Any],
        rendered: Sequence[Drawn],
    ) -> dict[str, Columns]:
        """Observe the images; they have no originals."""
        del inputs
        import torch

        images = GeneratedImages(
            torch.stack([drawn.image for drawn in rendered]),
            np.stack([drawn.pixels for drawn in rendered]),
        )
        return {name: extractor.observe(images) for name, extractor in extractors.items()}

    def picture(self, rendered: Drawn) -> np.ndarray:
        """An image by the protocol's rule, as `samples.npz` holds it."""
        return rendered.pixels

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write images beside the names of their classes."""
        labels = [self.class_of(picture.sample) for picture in pictures]
        cells = [
            (picture.path, f"{label} {self._settings.name(label)}")
            for picture, label in zip(pictures, labels, strict=True)
        ]
        labelled_grid(cells).save(target)

    def reference(
        self, extractors: Mapping[str, Extractor], device: str, progress: Progress
    ) -> ReferenceFeatures:
        """Statistics that the reference stores, and the features of its images."""
        from harness.metrics.extractors import FeatureExtractor
        from harness.sets.observe import reference_features

        reference, tap = self._reference, self._settings.inception.tap
        assert reference is not None
        # Precision and recall compare the tapped features; of others with statistics, nothing else
        # is read.
        wanted = [
            each
            for each in extractors.values()
            if isinstance(each, FeatureExtractor)
            and each.originals
            and (each.output == tap or each.output not in reference.statistics)
        ]
        with progress.bar(f"reference {reference.label}") as on_progress:
            return reference_features(reference, wanted, device, on_progress)[0]
