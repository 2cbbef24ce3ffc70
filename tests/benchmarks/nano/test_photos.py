"""The photographs for uniwetok-nano: archives, credits, filters, hold-out and manifest."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw

from benchmarks.nano.photos import __main__ as command
from benchmarks.nano.photos.credits import credit_of, read_credits
from benchmarks.nano.photos.errors import PhotosError
from benchmarks.nano.photos.gather import SAMPLE_SET, gather
from benchmarks.nano.photos.packages import members, package_file
from benchmarks.nano.photos.pictures import Seen, details, is_drawn, open_photo, shrink
from benchmarks.nano.photos.rcc import rcc_files
from benchmarks.nano.photos.sources import Source, load_sources

REPOSITORY = Path(__file__).parents[3]
SKIMAGE = Path(skimage.data.__file__).parent


def rcc(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A version-3 resource archive with one folder `in` that holds `files` (content, flags)."""
    names, data, nodes = b"", b"", b""

    def named(text: str) -> int:
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    nodes += struct.pack(">IHII", 0, 2, 1, 1) + bytes(8)
    nodes += struct.pack(">IHII", named("in"), 2, len(files), 2) + bytes(8)
    for name, (content, flags) in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if flags else content
        nodes += struct.pack(">IHHHI", named(name), flags, 0, 0, len(data)) + bytes(8)
        data += struct.pack(">I", len(stored)) + stored
    start = 24
    header = struct.pack(
        ">4sIIIII", b"qres", 3, start, start + len(nodes), start + len(nodes) + len(data), 0
    )
    return header + nodes + data + names


def deb(files: dict[str, bytes]) -> bytes:
    """A Debian package of these files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    package = b"!<arch>\n"
    for name, content in {"debian-binary": b"2.0\n", "data.tar.xz": tar.getvalue()}.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        package += header + content + b"\n" * (len(content) % 2)
    return package


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=90)
    return buffer.getvalue()


def scene(seed: int, size: tuple[int, int] = (320, 256)) -> Image.Image:
    """Coloured clouds with grain, which pass for a photograph."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = random.integers(-12, 13, smooth.shape)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def skimage_photo(name: str) -> Image.Image:
    return Image.open(SKIMAGE / name).convert("RGB")


@pytest.mark.parametrize("flags", [0, 1])
def test_rcc_files_of_an_archive(flags: int) -> None:
    files = {"a.txt": (b"first " * 50, flags), "bé.bin": (bytes(range(256)), flags)}
    assert dict(rcc_files(rcc(files))) == {f"in/{n}": content for n, (content, _) in files.items()}


def test_another_file_is_no_rcc() -> None:
    with pytest.raises(ValueError, match="not a Qt resource archive"):
        list(rcc_files(b"PK\x03\x04" + bytes(40)))


def test_members_of_a_package_and_of_the_rcc_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(deb({"usr/a": b"1", "usr/b.rcc": rcc({"c": (b"2", 0)})}))
    found = dict(members(path))
    assert found["usr/a"] == b"1"
    assert found["usr/b.rcc!in/c"] == b"2"


def test_drawings_are_told_from_photographs() -> None:
    gradient = Image.linear_gradient("L").resize((512, 512)).convert("RGB")
    cartoon = Image.new("RGB", (400, 300), "skyblue")
    pen = ImageDraw.Draw(cartoon)
    for i in range(8):
        pen.ellipse((i * 45, 60 + 9 * i, i * 45 + 60, 150 + 9 * i), fill=(30 * i, 200 - 20 * i, 90))
    assert is_drawn(gradient)
    assert is_drawn(cartoon)
    assert not is_drawn(skimage_photo("chelsea.png"))
    assert not is_drawn(skimage_photo("coffee.png"))


def test_unusable_pictures_are_none() -> None:
    grey = Image.merge("RGB", [scene(1).convert("L")] * 3)
    assert open_photo(b"no picture") is None
    assert open_photo(encoded(scene(1, (127, 300)))) is None
    assert open_photo(encoded(scene(1).convert("L"))) is None
    assert open_photo(encoded(grey)) is None
    transparent = scene(1).convert("RGBA")
    transparent.putalpha(200)
    assert open_photo(encoded(transparent)) is None
    opaque = open_photo(encoded(scene(1).convert("RGBA")))
    assert opaque is not None
    assert opaque.mode == "RGB"


def test_near_duplicates_in_another_size_and_quality() -> None:
    seen = Seen()
    chelsea = skimage_photo("chelsea.png")
    assert not seen.has(chelsea)
    seen.add(chelsea)
    smaller = Image.open(io.BytesIO(encoded(chelsea.resize((226, 150)), "JPEG")))
    assert seen.has(smaller)
    assert not seen.has(skimage_photo("coffee.png"))
    assert not seen.has(chelsea.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def test_shrink_keeps_the_shape_and_small_pictures() -> None:
    assert shrink(scene(2, (2048, 1024))).size == (1024, 512)
    assert shrink(scene(2, (300, 200))).size == (300, 200)


def test_details_tile_a_large_photo_and_skip_plain_cells() -> None:
    photo = scene(3, (2400, 1600))
    photo.paste((90, 120, 200), (0, 0, 800, 800))
    boxes = [box for box, cut in details(photo) if min(cut.size) == 512]
    assert len(boxes) == 5
    assert (0, 0, 800, 800) not in boxes
    assert not list(details(scene(3, (900, 700))))


COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Everybody
License: GPL-2+

Files: src/images/fish/fish1.jpg
       src/images/fish/fish2.jpg
Copyright: 2010 Ann Angler
License: CC-BY-SA-3.0
Comment: https://example.org/fish

Files: src/images/closed/*
Copyright: 2011 Bob
License: CC-BY-NC-4.0

License: GPL-2+
 The text.
"""


def test_credits_follow_files_moved_and_converted() -> None:
    credits = read_credits(COPYRIGHT)
    credit = credit_of("usr/x.rcc!q/src/images/fish/fish1.webp", credits)
    assert credit is not None
    assert (credit.author, credit.licence) == ("2010 Ann Angler", "CC-BY-SA-3.0")
    assert credit.note == "https://example.org/fish"
    assert credit.free
    assert credit_of("usr/src/images/fish/fish12.webp", credits) is None
    assert credit_of("usr/share/backgrounds/fish2.jpg", credits) == credit
    assert credit_of("usr/share/backgrounds/fish2.png", credits) is None
    closed = credit_of("usr/src/images/closed/a.png", credits)
    assert closed is not None
    assert not closed.free


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A package of 12 photographs and one picture of every kind that must not be taken."""
    photos = {f"usr/share/p/images/fish/fish{i}.png": encoded(scene(i)) for i in range(1, 4)}
    photos |= {f"usr/share/p/images/{name}.png": encoded(scene(ord(name))) for name in "abcdefghi"}
    rejected = {
        "usr/share/p/images/a-large.png": encoded(scene(ord("a")).resize((640, 512))),
        "usr/share/p/images/closed/k.png": encoded(scene(77)),
        "usr/share/p/images/painting.png": encoded(scene(78)),
        "usr/share/p/images/flat.png": encoded(Image.new("RGB", (300, 300), "red")),
        "usr/share/p/other/l.png": encoded(scene(79)),
        "usr/share/p/images/cup.jpg": encoded(
            skimage_photo("coffee.png").resize((300, 200)), "JPEG"
        ),
    }
    content = deb({**photos, **rejected, "usr/share/doc/p/copyright": COPYRIGHT.encode()})
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs" / "p.deb").write_bytes(content)
    return Source(
        package="p",
        version="1:2.0-1",
        file="p.deb",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="GPL-2+",
        author="Everybody",
        photos=("p/images/*",),
        drop=("painting.png",),
    )


def test_gather_writes_the_set_its_manifest_and_its_attribution(
    source: Source, tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "set"
    entries = gather([source], out, tmp_path / "debs", held_out=4, tell=said.append)
    assert said == [
        "p 1:2.0-1: 12 photos, 1 near-duplicate, 1 not free, 1 in the sample set, 1 drawn"
    ]
    held_out = [entry for entry in entries if entry.file.startswith("heldout/")]
    assert len(entries) == 12
    assert len(held_out) == 4
    assert not any("fish" in entry.path for entry in held_out), "a series was torn apart"
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert [image["file"] for image in manifest["images"]] == [entry.file for entry in entries]
    for image in manifest["images"]:
        stored = out / image["file"]
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == image["sha256"]
        assert Image.open(stored).size == (image["width"], image["height"])
        assert (image["package"], image["version"]) == ("p", "1:2.0-1")
    fish = next(i for i in manifest["images"] if i["path"].endswith("fish1.png"))
    assert (fish["author"], fish["licence"]) == ("2010 Ann Angler", "CC-BY-SA-3.0")
    attribution = (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert attribution.count("\n- `") == 12
    assert "2010 Ann Angler; CC-BY-SA-3.0 (https://example.org/fish)" in attribution
    assert (out / "licences" / "p.copyright").read_text(encoding="utf-8") == COPYRIGHT


def test_the_same_packages_give_the_same_set(source: Source, tmp_path: Path) -> None:
    first, second = (
        gather([source], tmp_path / name, tmp_path / "debs", held_out=4, tell=lambda line: None)
        for name in ("one", "two")
    )
    assert first == second


def test_a_full_folder_is_left_alone(source: Source, tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="is not empty"):
        gather([source], tmp_path / "debs", tmp_path / "debs")


def test_another_package_than_the_pinned_one_is_refused(source: Source, tmp_path: Path) -> None:
    (tmp_path / "debs" / "p.deb").write_bytes(b"another")
    with pytest.raises(PhotosError, match=r"has SHA-256 .* delete it"):
        package_file(source, tmp_path / "debs")


def test_without_apt_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["photos", "--out", str(tmp_path / "set")])
    assert command.main() == 2
    message = capsys.readouterr().err
    assert "no apt-get" in message
    assert "SHA-256" in message
    assert message.count("\n") == 1


def test_the_sample_set_is_what_is_kept_out() -> None:
    manifest = REPOSITORY / "tasks" / "shared" / "sample_set.json"
    assert set(SAMPLE_SET) == set(json.loads(manifest.read_text(encoding="utf-8"))["files"])


def test_sources_are_pinned_and_named_once() -> None:
    sources = load_sources()
    assert len({source.package for source in sources}) == len(sources) > 20
    for source in sources:
        assert len(bytes.fromhex(source.sha256)) == 32
        assert source.file.startswith(f"{source.package}_")
        assert all((source.photos, source.licence, source.author))
