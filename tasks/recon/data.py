"""The images of a reconstruction task under one protocol: decode them, observe, illustrate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from PIL import Image
from pydantic import model_validator

from harness.data.images import (
    Compression,
    DecodeRule,
    compressed,
    decode_image,
    decoded,
    through_float,
    to_array,
    to_float,
    to_uint8,
)
from harness.data.manifest import image_sizes, list_samples
from harness.interfaces import (
    Code,
    Columns,
    Extractor,
    ImagePairs,
    OnProgress,
    Picture,
    VisualTokenizer,
)
from harness.interfaces.errors import DecodeError, UserError, counted
from harness.interfaces.protocols import Count, ModelSettings
from harness.interfaces.types import Record, Sample, Stage
from harness.metrics.settings import OF_SETS, PairMeasures, SetMeasures, TappedInception

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.manifest import ImageSource


_MOST_PIXELS = 1 << 27
"""Pixels of the largest resized image, 400 MB; a strip one pixel wide would grow far past it."""


class Geometry(Record):
    """Which pixels are evaluated: a resized centre crop, or the image as it is."""

    resize: Count | None = None
    """Shorter side after resizing; the longer is truncated to whole pixels."""
    kernel: Literal["pil-bilinear", "pil-bicubic", "pil-lanczos", "bilinear"] = "pil-bilinear"
    """Pillow's, which antialias, or torch's half-pixel bilinear, which does not."""
    aspect: Literal["keep", "squash"] = "keep"
    """Whether the longer side keeps its share, or both sides become `resize`."""
    crop: Count | None = None
    """Side of the centre crop."""
    compression: Compression = "none"
    """What the image goes through before it is encoded and compared with."""
    min_side: Count = 1
    """Images with a smaller side cannot be evaluated."""
    pad: Count = 32
    """Multiple that `max_padded_side` is measured after."""
    max_padded_side: Count | None = None
    """Images with a larger padded side are not part of the evaluation."""

    @model_validator(mode="after")
    def _every_choice_has_a_meaning(self) -> Self:
        needs = {"kernel": "resize", "aspect": "resize", "pad": "max_padded_side"}
        for name, needed in needs.items():
            if name in self.model_fields_set and getattr(self, needed) is None:
                raise ValueError(f"has {name!r}, which means nothing without {needed!r}")
        least = self.min_side if self.resize is None else self.resize
        if self.crop is not None and self.crop > least:
            raise ValueError(
                f"has a crop of {self.crop}, larger than the {least} that it is cut of"
            )
        return self

    def apply(self, image: Image.Image) -> np.ndarray:
        """Crop to what is evaluated: uint8 (H, W, 3). Raises `DecodeError` for too small ones."""
        if min(image.size) < self.min_side:
            width, height = image.size
            raise DecodeError(
                f"image of {width}x{height} is smaller than {self.min_side} pixels a side"
            )
        if self.resize is not None:
            size = self._size(*image.size, self.resize)
            if size[0] * size[1] > _MOST_PIXELS:
                raise DecodeError(
                    f"image of {image.width}x{image.height} would be {size[0]}x{size[1]} pixels "
                    f"before it is cropped"
                )
            image = _resized(image, size, self.kernel)
        if self.crop is not None:
            image = _centre_crop(image, self.crop)
        return to_array(compressed(image, self.compression))

    def _size(self, width: int, height: int, side: int) -> tuple[int, int]:
        """Width and height after resizing: those of `torchvision.transforms.Resize(side)`."""
        if self.aspect == "squash":
            return side, side
        if width <= height:
            return side, int(side * height / width)
        return int(side * width / height), side

    def moved(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """Where points of an image of that size, float (n, 2) of x and y, lie after `apply`."""
        size = np.array([width, height])
        resized = size if self.resize is None else np.array(self._size(width, height, self.resize))
        corner = np.zeros(2) if self.crop is None else np.round((resized - self.crop) / 2.0)
        moved: np.ndarray = points * (resized / size) - corner
        return moved

    def takes(self, width: int, height: int) -> bool:
        """Whether an image of that size is part of the evaluation."""
        if self.max_padded_side is None:
            return True
        longest = max(width, height)
        return -(-longest // self.pad) * self.pad <= self.max_padded_side

    @property
    def left_out(self) -> str:
        """Which images `takes` refuses."""
        return f"sides above {self.max_padded_side:,} pixels when padded to multiples of {self.pad}"


_KERNELS = {
    "pil-bilinear": Image.Resampling.BILINEAR,
    "pil-bicubic": Image.Resampling.BICUBIC,
    "pil-lanczos": Image.Resampling.LANCZOS,
}


def _resized(image: Image.Image, size: tuple[int, int], kernel: str) -> Image.Image:
    """An image of that width and height; torch's kernel rounds to 8 bits as torchvision does."""
    if image.size == size:
        return image
    if kernel in _KERNELS:
        return image.resize(size, _KERNELS[kernel])
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    levels = interpolate(planes, size=size[::-1], mode="bilinear", align_corners=False).round()
    return Image.fromarray(levels[0].byte().permute(1, 2, 0).numpy())


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    """`torchvision.transforms.CenterCrop(size)` on a Pillow image at least that large."""
    width, height = image.size
    left = round((width - size) / 2.0)
    top = round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


class ImageSettings(ModelSettings):
    """What a protocol says of the images that are encoded."""

    decode: Annotated[DecodeRule, Stage.GENERATE]
    geometry: Annotated[Geometry, Stage.GENERATE]


class EncodedImages:
    """One source of images under one protocol, encoded.

    Args:
        source: The images.
        settings: The protocol's.
        label: Name of the data for people.
        notice: What they must know of it.
    """

    concurrent = True

    def __init__(
        self, source: ImageSource, settings: ImageSettings, label: str, notice: str
    ) -> None:
        self.label = label
        self.notice = self._told = notice
        self.side = settings.geometry.crop
        self._source = source
        self._encoded = settings

    def samples(self, limit: int | None, on_progress: OnProgress | None = None) -> list[Sample]:
        """All images in the order of their names, or a fixed choice of `limit` of them."""
        samples = list_samples(self._source, limit, on_progress)
        geometry = self._encoded.geometry
        if geometry.max_padded_side is None:
            return samples
        sizes = image_sizes(self._source, [sample.id for sample in samples])
        # An unreadable image is counted as a failure, not left out.
        takes = [size is None or geometry.takes(*size) for size in sizes]
        kept = [sample for sample, taken in zip(samples, takes, strict=True) if taken]
        too_large = [sample.id for sample, taken in zip(samples, takes, strict=True) if not taken]
        if not kept:
            raise UserError(
                f"of {counted(len(samples), 'image')} none is part of the evaluation: the "
                f"protocol leaves out {geometry.left_out}"
            )
        of_size = ""
        if too_large:
            more = f" and {len(too_large) - 3:,} more" if len(too_large) > 3 else ""
            of_size = (
                f"the protocol leaves out {len(too_large):,} of {counted(len(samples), 'image')}, "
                f"{geometry.left_out}: {', '.join(too_large[:3])}{more}"
            )
        self.notice = "; ".join(filter(None, (self._told, of_size)))
        return [sample.model_copy(update={"index": index}) for index, sample in enumerate(kept)]

    def load(self, sample: Sample) -> Any:
        """Decode and crop one image: uint8 (H, W, 3)."""
        return self.input(sample, self.original(sample))

    def input(self, sample: Sample, original: np.ndarray) -> Any:
        """What is worked on of a sample: the image itself."""
        del sample
        return original

    def original(self, sample: Sample) -> np.ndarray:
        """What is evaluated of a sample's image: uint8 (H, W, 3)."""
        return self._encoded.geometry.apply(self.image(sample))

    def image(self, sample: Sample) -> Image.Image:
        """A sample's image as it was before it is resized and cropped."""
        return decode_image(self._source.read(sample.id), self._encoded.decode)

    def batch_key(self, item: Any) -> Hashable:
        """Images of one size share a batch."""
        height, width = item.shape[:2]
        return height, width

    def generate(self, model: Any, inputs: Sequence[Any], seeds: Sequence[int]) -> list[Code]:
        """Encode; an encoder has no randomness, so the seeds are not used."""
        del seeds
        codes: list[Code] = model.encode(
            to_float(np.stack(inputs), getattr(model, "image_device", "cpu"))
        )
        return codes


def decoded_images(
    model: VisualTokenizer, codes: Sequence[Code], seeds: Sequence[int]
) -> list[Tensor]:
    """Decode codes of one size to float32 (3, H, W) each, clamped to [-1, 1]."""
    images = decoded(model.decode(codes, seeds))
    height, width = codes[0].height, codes[0].width
    if images.shape != (len(codes), 3, height, width):
        raise ValueError(
            f"decode gave shape {tuple(images.shape)} for {len(codes)} codes of {height}x{width}"
        )
    return list(images)


class ReconInception(TappedInception):
    """Distances are to the very images that were reconstructed."""

    reference: Annotated[Literal["same-images"], Stage.OBSERVE] = "same-images"


class ReconSettings(PairMeasures, SetMeasures, ImageSettings):
    """What the reconstruction tasks read of a protocol."""

    noise: Annotated[Literal["per-sample"], Stage.GENERATE]
    """A stochastic decoder draws its noise from one stream a sample."""
    uint8: Annotated[Literal["truncate", "round"], Stage.OBSERVE]
    """How float images become 8-bit."""
    reference_uint8: Annotated[Literal["as-decoded", "through-float"], Stage.OBSERVE]
    """Whether the original goes through float32 and the uint8 rule before it is compared."""
    network_input: Annotated[Literal["float", "uint8"], Stage.OBSERVE]
    """Whether networks see the float reconstruction or its 8-bit version."""
    inception: Annotated[ReconInception | None, OF_SETS] = None


_CAPTIONS = ("psnr", "ssim")
"""Observations that stand below a kept picture."""


class ReconData(EncodedImages):
    """One source of images under one protocol, encoded, decoded and compared."""

    def __init__(
        self, source: ImageSource, settings: ReconSettings, label: str, notice: str
    ) -> None:
        super().__init__(source, settings, label, notice)
        self._settings = settings

    def render(
        self, model: VisualTokenizer, codes: Sequence[Code], seeds: Sequence[int]
    ) -> list[Tensor]:
        """Decode to float32 (3, H, W), clamped to [-1, 1]."""
        return decoded_images(model, codes, seeds)

    def observe(
        self,
        extractors: Mapping[str, Extractor],
        inputs: Sequence[Any],
        rendered: Sequence[Tensor],
    ) -> dict[str, Columns]:
        """Observe originals and reconstructions side by side."""
        pairs = self._pair(inputs, rendered)
        return {name: extractor.observe(pairs) for name, extractor in extractors.items()}

    def _pair(self, inputs: Sequence[np.ndarray], rendered: Sequence[Tensor]) -> ImagePairs:
        import torch

        settings = self._settings
        originals = np.stack(inputs)
        reconstruction = torch.stack(list(rendered))
        reference = to_float(originals, reconstruction.device)
        reconstruction_uint8 = to_uint8(reconstruction, settings.uint8)
        if settings.network_input == "uint8":
            reconstruction = to_float(reconstruction_uint8, reference.device)
        return ImagePairs(
            reference=reference,
            reconstruction=reconstruction,
            reference_uint8=(
                originals
                if settings.reference_uint8 == "as-decoded"
                else through_float(originals, settings.uint8)
            ),
            reconstruction_uint8=reconstruction_uint8,
        )

    def picture(self, rendered: Tensor) -> np.ndarray:
        """A reconstruction as people see it: rounded to uint8 (H, W, 3)."""
        return to_uint8(rendered)

    def illustrate(self, pictures: Sequence[Picture], target: Path) -> None:
        """Write original, reconstruction and error side by side, captioned with `_CAPTIONS`."""
        from tasks.shared.pictures import reconstruction_grid

        rows = []
        for picture in pictures:
            shown = {name: picture.values[name] for name in _CAPTIONS if name in picture.values}
            rows.append((self.original(picture.sample), replace(picture, values=shown)))
        reconstruction_grid(rows).save(target)
