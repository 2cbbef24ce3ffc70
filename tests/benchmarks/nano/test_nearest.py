"""How near samples are to what was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.nano import nearest as command
from benchmarks.nano.nearest import encode_photos, nearest
from uniwetok.nano import WEIGHTS
from uniwetok.tokenizer import UniWeTok, quantizer
from uniwetok.train.codes.cache import ARRAY_FILE, Header, Origin, write_header
from uniwetok.train.codes.integrity import with_checksums


def random_codes(count: int, seed: int) -> torch.Tensor:
    draws = torch.rand(count, 128, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (draws < 0.5).float() * 2 - 1


def cache(folder: Path, photos: torch.Tensor) -> Path:
    """A cache of codes (photographs, 3 views, bits, grid, grid)."""
    folder.mkdir()
    rows = [np.frombuffer(row, np.uint8) for row in quantizer.pack(photos.flatten(0, 1))]
    np.save(folder / ARRAY_FILE, with_checksums(np.stack(rows)).reshape(len(photos), 3, -1))
    origin = Origin(
        tokenizer="0", data="0", resolution=256, views=1, smallest_crop=0.9,
        latent_channels=128, grid=8,
    )  # fmt: skip
    write_header(folder, Header(origin=origin, labels=[0] * len(photos), unreadable=[]))
    return folder


def test_the_nearest_and_what_it_has_in_common() -> None:
    others = random_codes(6, 0)
    queries = others[[4, 1]].clone()
    queries[1, :32] *= -1
    places, shares = nearest(queries, others)
    assert places.tolist() == [4, 1]
    assert shares.tolist() == pytest.approx([1, 0.75])


def test_copies_are_told_from_new_images(
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = random_codes(6, 1).unflatten(0, (2, 3))
    samples = torch.cat([photos.flatten(0, 1)[:4], random_codes(4, 2)])
    monkeypatch.setattr(command, "draw_samples", lambda each: samples)
    heldout = tmp_path / "heldout"
    heldout.mkdir()
    for index, path in enumerate(sorted(photo_folder.rglob("*.png"))[:2]):
        Image.open(path).save(heldout / f"{index}.jpg")
    target = tmp_path / "pairs.jpg"
    arguments = ["nearest", str(cache(tmp_path / "codes", photos)), str(heldout), str(target)]
    monkeypatch.setattr("sys.argv", arguments)
    command.main()
    out = capsys.readouterr().out
    assert "nearest of 6 training views" in out
    share = int(out.rstrip().rpartition(" ")[2].removesuffix("%"))
    assert 50 <= share < 100, "the four copies, and not all of the others"
    with Image.open(target) as image:
        assert image.width > 4 * 256


def test_held_out_photographs_are_encoded_at_their_center(
    tmp_path: Path, photo_folder: Path
) -> None:
    photo = Image.open(sorted(photo_folder.rglob("*.png"))[0])
    photo.save(tmp_path / "a.jpg", quality=95)
    tokenizer = UniWeTok.from_pretrained(WEIGHTS)
    codes = encode_photos(tokenizer, tmp_path, 256)
    assert codes.shape == (1, 128, 8, 8)
    with pytest.raises(ValueError, match=r"holds no \.jpg"):
        encode_photos(tokenizer, photo_folder, 256)


def test_missing_codes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nearest", str(tmp_path), str(tmp_path), "x.jpg"])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert "no codes are there" in capsys.readouterr().err
