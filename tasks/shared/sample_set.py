"""The embedded sample set: fixed 256x256 crops of photos that ship in scikit-image.

`sample_set.json` fixes the files, the boxes and the SHA-256 of every crop. Credits and licences
of the photos stand in it too, and in docs/sample-set.md.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from harness.interfaces.errors import UserError
from uwt_images.decoding import RASTER_FORMATS

MANIFEST = Path(__file__).with_name("sample_set.json")


class SampleSet:
    """An image source of crops, each a binary PPM file: a header and the pixels."""

    def __init__(self) -> None:
        import skimage.data

        self._folder = Path(skimage.data.__file__).parent
        crops = json.loads(MANIFEST.read_text(encoding="utf-8"))["crops"]
        self._crops = {crop["id"]: crop for crop in crops}

    def ids(self) -> Sequence[str]:
        """Crop names such as `coffee-1-0` (column 1, row 0), sorted."""
        return sorted(self._crops)

    def read(self, image_id: str) -> bytes:
        """The crop as PPM bytes; raise `UserError` where the installed photo is another one."""
        crop = self._crops[image_id]
        data = ppm_bytes(photo(self._folder / crop["file"]).crop(crop["box"]))
        if hashlib.sha256(data).hexdigest() != crop["sha256"]:
            raise UserError(
                f"the sample set's photo {crop['file']} in {self._folder} is not the one the "
                "manifest was made from: reinstall scikit-image, or give --data"
            )
        return data

    def container(self, image_id: str) -> tuple[str, str]:
        """The photo and the crop's name."""
        return str(self._folder / self._crops[image_id]["file"]), image_id


@functools.lru_cache(maxsize=4)
def photo(path: Path) -> Image.Image:
    """A photo that ships in a package, as RGB; raise `UserError` where it cannot be read."""
    try:
        with Image.open(path, formats=RASTER_FORMATS) as image:
            return image.convert("RGB")
    except OSError as error:
        raise UserError(
            f"the sample set's photo {path} is missing or unreadable: reinstall scikit-image"
        ) from error


def ppm_bytes(image: Image.Image) -> bytes:
    """An RGB image as a binary PPM file, whose bytes no library version changes."""
    return b"P6\n%d %d\n255\n" % image.size + image.tobytes()
