"""Images of classes that were made elsewhere, in the places of those that a model would draw."""

from __future__ import annotations

import itertools
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.interfaces import Code, ImageFiles, OnProgress, Picture
from harness.interfaces.errors import UserError, counted
from harness.interfaces.types import Sample
from tasks.gen.data import GenData, GenSettings
from tasks.shared.pictures import labelled_grid

if TYPE_CHECKING:
    from harness.sets.images import Reference


class GenFiles(GenData):
    """As many images as the protocol draws, in their own order.

    That is the order in an `.npz` file, which ADM's evaluation keeps too, and of the names in a
    folder. Where every class has a folder with as many images as the protocol draws of it, there is
    no such order, and they are taken in the protocol's.

    Args:
        settings: The protocol's.
        reference: The reference set; None without one.
        notice: What a user must know.
        images: The images.
    """

    def __init__(
        self, settings: GenSettings, reference: Reference | None, notice: str, images: ImageFiles
    ) -> None:
        super().__init__(settings, reference, notice)
        self._names = images.names()
        self._classes = dict(zip(self._names, images.classes() or (), strict=False))
        self._by_class = _balanced(self._names, settings)
        if self._by_class is None and self._lie_by_class():
            order = (
                "images lie class by class and are taken in that order, so that sequential splits "
                "of the Inception Score see few classes each: shuffle them for that figure"
            )
            self.notice = f"{notice}; {order}" if notice else order

    def _lie_by_class(self) -> bool:
        """Whether the order goes from class to class, as labels or else folders tell."""
        kinds: list[int | str] = [
            self._classes.get(name, posixpath.dirname(name)) for name in self._names
        ]
        changes = sum(one != other for one, other in itertools.pairwise(kinds))
        return 1 < len(set(kinds)) == changes + 1 < len(kinds)

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All samples, or `limit` of them; raise `UserError` where there are not as many images."""
        samples = super().samples(limit, on_progress)
        found, needed = len(self._names), len(samples)
        if found < needed or (limit is None and found > needed):
            few = "" if found > needed else f"; --limit {found} measures no more than there are"
            raise UserError(
                f"{counted(found, 'image')} given, the protocol compares {needed:,}{few}"
            )
        return samples

    def load(self, sample: Sample) -> str:
        """The name of the image in the sample's place."""
        if self._by_class is None:
            return self._names[sample.index]
        label, number = map(int, sample.id.split("/"))
        return self._by_class[label][number]

    def generate(
        self, model: ImageFiles, inputs: Sequence[str], seeds: Sequence[int]
    ) -> list[Code]:
        """Find the images; raise `UserError` where one has another size than the protocol's."""
        del seeds
        codes = model.read(inputs)
        side = self._settings.size
        for name, code in zip(inputs, codes, strict=True):
            if side is not None and (code.height, code.width) != (side, side):
                raise UserError(
                    f"{model.card.title}: image {name} is {code.width}x{code.height}, this "
                    f"protocol compares {side}x{side}: give --protocol a copy with its size"
                )
        return codes

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write images beside the names of their classes, or else of their files."""
        cells = [(picture.path, self._title(self.load(picture.sample))) for picture in pictures]
        labelled_grid(cells).save(target)

    def _title(self, name: str) -> str:
        label = self._classes.get(name, -1)
        return name if label < 0 else f"{label} {self._settings.name(label)}"


def _balanced(names: Sequence[str], settings: GenSettings) -> list[list[str]] | None:
    """Images by class, where each has its folder and the protocol's number of images."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folders[posixpath.dirname(name)].append(name)
    each = settings.samples_per_class
    if len(folders) != settings.classes or any(len(found) != each for found in folders.values()):
        return None
    # Folders of numbers go by number: 2 comes before 10.
    numbered = all(folder.isdecimal() for folder in folders)
    order = sorted(folders, key=lambda folder: (int(folder) if numbered else 0, folder))
    return [folders[folder] for folder in order]
