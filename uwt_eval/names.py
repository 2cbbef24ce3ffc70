"""Whether our packages are ours: others ship `tasks`, `reports` or `harness` too.

Nothing here imports one of them before it is asked for findings, since they may be the wrong ones.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.doctor.finding import Finding

PACKAGES = ("harness", "tasks", "reports", "uniwetok", "uwt_images")
HOME = Path(__file__).resolve().parents[1]
"""The folder that holds all our packages side by side, in a checkout as when installed."""
PLUGINS = {
    "checks": {"names": "uwt_eval.names:check"},
    "commands": {"reproduce": "uwt_eval.reproduce:app"},
}
_OURS = "uwt-eval"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A file under one of our names that is not ours, or that is gone; and what mends it."""

    text: str
    fix: str


def shadowed() -> list[Foreign]:
    """Packages of ours that Python would import from elsewhere; cheap, and imports nothing."""
    return _foreign(
        [
            path
            for name in PACKAGES
            if (path := _place(name)) not in (HOME / name / "__init__.py", HOME / name)
        ]
    )


def _place(name: str) -> Path:
    """The file that `import name` runs; the folder where it has none, ours where there is none."""
    spec = find_spec(name)
    if spec is None:
        return HOME / name
    return Path(spec.origin or next(iter(spec.submodule_search_locations or ()))).resolve()


def damaged() -> list[Foreign]:
    """Installed files of ours that are gone, or whose contents another distribution replaced."""
    return _foreign(
        [
            path
            for path, digest in _installed().items()
            if not path.is_file() or (digest and digest != _digest(path))
        ]
    )


def check() -> Iterator[Finding]:
    """What `uwt-eval doctor` says of our names."""
    from harness.doctor.finding import Finding

    wrong = [*shadowed(), *damaged()]
    for each in wrong:
        yield Finding("names", "error", each.text, each.fix)
    if not wrong:
        owners = _owners()
        shared = {path: owners[path] for path in _installed() if path in owners}
        for path, owner in shared.items():
            text = f"{path} is ours, and {owner} lists it too: removing that removes ours"
            yield Finding("names", "warning", text, _fix(owner))
        if not shared:
            yield Finding("names", "ok", f"{', '.join(PACKAGES)} are ours, in {HOME}")


def _foreign(paths: Sequence[Path]) -> list[Foreign]:
    owners = _owners() if paths else {}
    return [_about(path, owners.get(path, "")) for path in paths]


def _about(path: Path, owner: str) -> Foreign:
    if not path.exists():
        fix = f"install {_OURS} anew: pip install --force-reinstall --no-deps {_OURS}"
        return Foreign(f"{path} is missing from {_OURS}", fix)
    if owner:
        return Foreign(f"{path} is not {_OURS}'s file, it belongs to {owner}", _fix(owner))
    fix = "take its folder from PYTHONPATH or sys.path, or give it another name"
    return Foreign(f"{path} is not {_OURS}'s file, and no distribution lists it", fix)


def _fix(owner: str) -> str:
    name = owner.rpartition(" ")[0]
    return (
        f"give {_OURS} an environment of its own, or: pip uninstall {name} && "
        f"pip install --force-reinstall --no-deps {_OURS}"
    )


def _owners() -> dict[Path, str]:
    """Files under our names that other distributions list, with the distribution and its version.

    One pass: an environment holds some hundred distributions, and some list 10,000 files.
    """
    return {
        path: f"{distribution.name} {distribution.version}"
        for distribution in distributions()
        if distribution.name != _OURS
        for path in _files(distribution)
    }


def _installed() -> dict[Path, str]:
    """Our Python files as installed, with the digests that were written down then."""
    ours = next((each for each in distributions(name=_OURS)), None)
    return _files(ours) if ours else {}


def _files(distribution: Distribution) -> dict[Path, str]:
    """Python files that a distribution lists under our names, with their digests."""
    home = Path(str(distribution.locate_file(""))).resolve()
    try:
        record = distribution.read_text("RECORD") or ""
    except (OSError, UnicodeDecodeError):  # A stranger's, which is not ours to mend.
        record = ""
    rows = [line.split(",") for line in record.splitlines() if line.startswith(PACKAGES)]
    return {
        home / row[0]: row[1].removeprefix("sha256=")
        for row in rows
        if row[0].endswith(".py") and row[0].split("/")[0] in PACKAGES
    }


def _digest(path: Path) -> str:
    """As RECORD writes it."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
