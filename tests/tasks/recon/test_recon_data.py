"""Images of a reconstruction run: which, how compared, and what a decoder may not return."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.interfaces import Code, ImagePairs
from harness.interfaces.types import Sample
from tasks.recon.data import ReconData
from tasks.recon.task import IMAGENET_RECON_NATIVE


def data_of(folder: Path, name: str = "exact") -> ReconData:
    return IMAGENET_RECON_NATIVE.open(str(folder), IMAGENET_RECON_NATIVE.protocol(name))


def model_returning(images: Any) -> Any:
    return SimpleNamespace(decode=lambda codes, seeds: images)


ORIGINAL = (np.arange(64 * 64 * 3) % 256).astype(np.uint8).reshape(64, 64, 3)
"""An image with every level."""


class PairKeeper:
    """An extractor that keeps what it was shown."""

    identity: dict[str, Any] = {}  # noqa: RUF012
    pairs: ImagePairs

    def observe(self, pairs: ImagePairs) -> dict[str, np.ndarray]:
        self.pairs = pairs
        return {"column": np.zeros(len(pairs.reference_uint8))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for name, size in {"a": (64, 64), "b": (1985, 64), "c": (100, 70)}.items():
        Image.new("RGB", size, (10, 20, 30)).save(root / f"{name}.png")
    (root / "d.png").write_bytes(b"no image")
    return root


def test_too_large_images_are_left_out_where_the_protocol_says_so(folder: Path) -> None:
    samples = data_of(folder, name="wetok").samples(None)
    assert [(sample.id, sample.index) for sample in samples] == [
        ("a.png", 0),
        ("c.png", 1),
        ("d.png", 2),
    ]
    assert len(data_of(folder, name="exact").samples(None)) == 4


def test_images_that_the_protocol_leaves_out_are_counted_and_named(folder: Path) -> None:
    data = data_of(folder, name="wetok")
    before = data.notice
    rule = "sides above 2,000 pixels when padded to multiples of 32"
    for _ in range(2):  # Listed twice, it is said once.
        data.samples(None)
        told = f"the protocol leaves out 1 of 4 images, {rule}: b.png"
        assert data.notice == f"{before}; {told}"
    for name in "efgh":
        Image.new("RGB", (64, 2001)).save(folder / f"{name}.png")
    data = data_of(folder, name="wetok")
    data.samples(None)
    assert data.notice.endswith(f"leaves out 5 of 8 images, {rule}: b.png, e.png, f.png and 2 more")
    exact = data_of(folder, name="exact")
    exact.samples(None)
    assert "leaves out" not in exact.notice


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_image_beyond_every_size_is_counted_not_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    samples = data_of(folder, name="wetok").samples(None)
    assert "d.png" in [sample.id for sample in samples]


def test_images_of_one_size_share_a_batch(folder: Path) -> None:
    data = data_of(folder)
    loaded = [data.load(sample) for sample in data.samples(None)[:3]]
    keys = [data.batch_key(image) for image in loaded]
    assert keys == [(64, 64), (64, 1985), (70, 100)]


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (torch.zeros(1, 3, 64, 63), r"shape \(1, 3, 64, 63\) for 1 codes of 64x64"),
        (torch.zeros(2, 3, 64, 64), r"shape \(2, 3, 64, 64\) for 1 codes"),
        (torch.zeros(3, 64, 64), r"shape \(3, 64, 64\)"),
        (torch.full((1, 3, 64, 64), torch.nan), "not finite"),
        (torch.full((1, 3, 64, 64), -torch.inf), "not finite"),
        (torch.full((1, 3, 64, 64), 255.0), r"values from 255 to 255: give them in \[-1, 1\]"),
        (torch.full((1, 3, 64, 64), -128.0), "values from -128 to -128"),
        (np.zeros((1, 3, 64, 64), np.float32), "decode gave ndarray, not a tensor of floating"),
        ([[[[0.0]]]], "decode gave list, not a tensor"),
        (None, "decode gave NoneType, not a tensor"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, text: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=text):
        data_of(folder).render(model_returning(images), [Code(b"", 64, 64)], [0])


def test_rendered_images_are_float32_and_clamped(folder: Path) -> None:
    wild = torch.full((1, 3, 64, 64), 7.0, dtype=torch.bfloat16)
    (image,) = data_of(folder).render(model_returning(wild), [Code(b"", 64, 64)], [0])
    assert image.dtype == torch.float32
    assert (image == 1).all()


def pairs_under(name: str, folder: Path) -> ImagePairs:
    keeper = PairKeeper()
    rendered = torch.full((3, 64, 64), 10.7 / 127.5 - 1)
    columns = data_of(folder, name=name).observe({"keeper": keeper}, [ORIGINAL], [rendered])
    assert list(columns) == ["keeper"]
    assert keeper.pairs.reference.shape == keeper.pairs.reconstruction.shape == (1, 3, 64, 64)
    return keeper.pairs


def lowered_levels(pairs: ImagePairs) -> int:
    """How many of the 256 levels of the original are compared one level lower."""
    change = ORIGINAL.astype(int) - pairs.reference_uint8[0]
    assert set(change.ravel()) <= {0, 1}
    return len(np.unique(ORIGINAL[change == 1]))


def test_exact_shows_every_metric_the_saved_file(folder: Path) -> None:
    pairs = pairs_under("exact", folder)
    assert (pairs.reconstruction_uint8 == 11).all()
    torch.testing.assert_close(
        pairs.reconstruction, torch.full((1, 3, 64, 64), 11 / 127.5 - 1), rtol=0, atol=1e-7
    )
    assert lowered_levels(pairs) == 0


def test_wetok_shows_networks_the_float_image_and_truncates_for_pixels(folder: Path) -> None:
    pairs = pairs_under("wetok", folder)
    assert (pairs.reconstruction_uint8 == 10).all()
    assert (pairs.reconstruction == torch.tensor(10.7 / 127.5 - 1)).all()
    assert lowered_levels(pairs) == 95


def test_picture_is_rounded_for_people_whatever_the_protocol(folder: Path) -> None:
    rendered = torch.full((3, 64, 80), 10.7 / 127.5 - 1)
    for name in ("wetok", "exact"):
        picture = data_of(folder, name=name).picture(rendered)
        assert picture.shape == (64, 80, 3)
        assert picture.dtype == np.uint8
        assert (picture == 11).all()


def test_decoded_pixels_follow_the_protocol(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(buffer, format="png")
    (root / "clear.png").write_bytes(buffer.getvalue())
    sample = Sample(id="clear.png", index=0, sha256="")
    assert data_of(root, name="wetok").load(sample)[0, 0].tolist() == [10, 20, 30]
    assert data_of(root, name="exact").load(sample)[0, 0].tolist() == [255, 255, 255]
