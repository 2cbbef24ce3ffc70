"""The embedded sample set: the same pixels on every machine, or a clear line."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.interfaces.errors import UserError
from tasks.shared import sample_set
from tasks.shared.sample_set import MANIFEST, SampleSet, ppm_bytes


@pytest.fixture
def altered_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the manifest for a test to change."""
    path = tmp_path / "sample_set.json"
    path.write_text(MANIFEST.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sample_set, "MANIFEST", path)
    return path


def change_first_crop(path: Path, **changes: object) -> str:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["crops"][0].update(changes)
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(content["crops"][0]["id"])


def test_ids_are_sorted_unique_and_at_least_forty() -> None:
    ids = list(SampleSet().ids())
    assert len(ids) >= 40
    assert ids == sorted(set(ids))
    listed = [crop["id"] for crop in json.loads(MANIFEST.read_text(encoding="utf-8"))["crops"]]
    assert len(listed) == len(ids)


def test_every_crop_is_256_pixels_of_the_listed_content() -> None:
    source = SampleSet()
    crops = {crop["id"]: crop for crop in json.loads(MANIFEST.read_text("utf-8"))["crops"]}
    for name in source.ids():
        data = source.read(name)
        assert hashlib.sha256(data).hexdigest() == crops[name]["sha256"]
        image = Image.open(io.BytesIO(data))
        assert (image.mode, image.size) == ("RGB", (256, 256))
        left, top, right, bottom = crops[name]["box"]
        assert (right - left, bottom - top) == (256, 256)


def test_crops_are_different_photos_in_colour() -> None:
    source = SampleSet()
    contents = [source.read(name) for name in source.ids()]
    assert len(set(contents)) == len(contents)
    for data in contents:
        pixels = np.asarray(Image.open(io.BytesIO(data)), dtype=int)
        assert np.ptp(pixels, axis=-1).max() > 10


def test_every_photo_has_a_credit_a_licence_and_its_file_digest() -> None:
    content = json.loads(MANIFEST.read_text("utf-8"))
    assert {crop["file"] for crop in content["crops"]} <= set(content["files"])
    for name, facts in content["files"].items():
        assert facts["credit"], name
        assert facts["licence"], name
    files = {crop["id"]: crop["file"] for crop in content["crops"]}
    source = SampleSet()
    for crop, file in files.items():
        place, part = source.container(crop)
        path = Path(place)
        assert (path.name, part) == (file, crop)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == content["files"][file]["sha256"]


def test_another_photo_of_the_same_name_is_refused(altered_manifest: Path) -> None:
    name = change_first_crop(altered_manifest, sha256="0" * 64)
    with pytest.raises(UserError, match="is not the one the manifest was made from"):
        SampleSet().read(name)


def test_missing_photo_says_what_to_do(altered_manifest: Path) -> None:
    name = change_first_crop(altered_manifest, file="gone.png")
    with pytest.raises(UserError, match=r"gone\.png is missing or unreadable: reinstall"):
        SampleSet().read(name)


def test_ppm_is_a_header_and_the_pixels() -> None:
    image = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    data = ppm_bytes(image)
    assert data == b"P6\n3 2\n255\n" + bytes(range(18))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(image))
