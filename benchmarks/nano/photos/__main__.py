"""Command line of `benchmarks.nano.photos`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.nano.photos.errors import PhotosError
from benchmarks.nano.photos.gather import gather
from benchmarks.nano.photos.sources import load_sources


def main() -> int:
    """Gather the photographs; 2 if the user has something to mend."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nano.photos",
        description="Gather the photographs that train uniwetok-nano out of Debian 12 packages.",
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the set")
    parser.add_argument(
        "--packages",
        type=Path,
        help="folder of .deb files, used as they are and filled with apt-get (default: OUT.debs)",
    )
    arguments = parser.parse_args()
    packages = arguments.packages or arguments.out.with_name(f"{arguments.out.name}.debs")
    try:
        entries = gather(load_sources(), arguments.out, packages)
    except PhotosError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for side in ("train", "heldout"):
        chosen = [entry for entry in entries if entry.file.startswith(f"{side}/")]
        photos = sum(entry.box is None for entry in chosen)
        pixels = sum(entry.width * entry.height for entry in chosen) / 1e6
        print(f"{side}: {len(chosen)} images of {photos} photos, {pixels:.1f} megapixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
