"""What is encoded and decoded: images that become codes, and codes that become pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from harness.data.images import to_uint8
from harness.data.manifest import choose
from harness.interfaces import Code, Columns, Extractor, OnProgress, Picture
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.protocols import ModelSettings
from harness.interfaces.types import ModelCard, Sample, Stage
from tasks.codes.files import Codes
from tasks.recon.data import EncodedImages, decoded_images

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class ImagesToEncode(EncodedImages):
    """Images of which nothing but the codes is wanted: they are not decoded."""

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[Code]:
        """The codes as they are."""
        del model, seeds
        return list(codes)

    def observe(
        self, extractors: Mapping[str, Extractor], inputs: Sequence[Any], rendered: Sequence[Any]
    ) -> dict[str, Columns]:
        """Nothing: what is known of codes without decoding them needs no extractor."""
        del inputs, rendered
        return _nothing_of(extractors, "encoding decodes nothing that {} could look at: run a task")

    def picture(self, rendered: Code) -> None:
        """None: codes are no picture."""
        del rendered

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Never called, for there are no pictures."""


class DecodeSettings(ModelSettings):
    """What decoding reads of a protocol."""

    noise: Annotated[Literal["per-sample"], Stage.GENERATE]
    """A stochastic decoder draws its noise from one stream an image."""


class CodesToDecode:
    """A folder of codes; every picture is kept as a PNG.

    Args:
        codes: The folder's.
        label: Name of the codes for people.
    """

    concurrent = True
    notice = ""

    def __init__(self, codes: Codes, label: str) -> None:
        self.label = label
        self._codes = codes
        self._names = _png_names(codes.ids())

    def refuse_other_model(self, card: ModelCard) -> None:
        """Raise `UserError` where the codes are another model's."""
        given, theirs = _identity(card), _identity(self._codes.header.model)
        if given != theirs:
            raise UserError(
                f"these codes are of {theirs.title} ({theirs.digest[:12]}), the model given is "
                f"{given.title} ({given.digest[:12]}): what it makes of them means nothing"
            )

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All codes in the order of the files, or a fixed choice of `limit` of them."""
        ids = choose(self._codes.ids(), limit)
        samples = []
        for index, image_id in enumerate(ids):
            row = self._codes.read(image_id)
            content = f"{row['height']}x{row['width']}\0".encode() + row["payload"]
            digest = hashlib.sha256(content).hexdigest()
            samples.append(Sample(id=image_id, index=index, sha256=digest))
            if on_progress is not None and index % 1000 == 0:
                on_progress(index, len(ids))
        return samples

    def load(self, sample: Sample) -> Code:
        """One image's code."""
        row = self._codes.read(sample.id)
        try:
            return Code(row["payload"], row["height"], row["width"], row["bits"])
        except ValueError as error:
            raise DecodeError(str(error)) from error

    def batch_key(self, item: Code) -> Hashable:
        """Codes of images of one size share a batch."""
        return item.height, item.width

    def generate(self, model: Any, inputs: Sequence[Code], seeds: Sequence[int]) -> list[Code]:
        """The codes as they are."""
        del model, seeds
        return list(inputs)

    def render(self, model: Any, codes: Sequence[Code], seeds: Sequence[int]) -> list[Tensor]:
        """Decode to float32 (3, H, W), clamped to [-1, 1]."""
        return decoded_images(model, codes, seeds)

    def observe(
        self, extractors: Mapping[str, Extractor], inputs: Sequence[Any], rendered: Sequence[Any]
    ) -> dict[str, Columns]:
        """Nothing: there are no originals to compare with."""
        del inputs, rendered
        return _nothing_of(extractors, "codes come without the originals that {} compares with")

    def picture(self, rendered: Tensor) -> np.ndarray:
        """The decoded image, rounded to uint8 (H, W, 3)."""
        return to_uint8(rendered)

    def picture_names(self) -> list[str]:
        """Of all pictures, in order."""
        return list(self._names.values())

    def picture_path(self, sample: Sample) -> str:
        """Named as the image was, as a PNG."""
        return self._names[sample.id]

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """A sheet of some of the pictures."""
        from tasks.shared.pictures import labelled_grid

        labelled_grid([(each.path, each.sample.id) for each in pictures]).save(target)


def _nothing_of(extractors: Mapping[str, Extractor], why: str) -> dict[str, Columns]:
    """No columns; raise `UserError` where something was to be observed."""
    if extractors:
        raise UserError(why.format(", ".join(extractors)))
    return {}


def _identity(card: ModelCard) -> ModelCard:
    """The model by what decides its codes: no label, nor the digest of a plug-in's code."""
    return card.model_copy(update={"label": "", "code_sha256": None})


def _png_names(ids: Sequence[str]) -> dict[str, str]:
    """By image the name of its PNG: with the old endings where else two would be in one place."""
    names = {each: str(PurePosixPath(each).with_suffix(".png")) for each in ids}
    folders = {str(folder) for name in names.values() for folder in PurePosixPath(name).parents}
    alike = len({name.casefold() for name in names.values()}) < len(names)
    if alike or not folders.isdisjoint(names.values()):
        return {each: f"{each}.png" for each in ids}
    return names
