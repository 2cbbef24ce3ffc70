"""What `--data` says: one place, or several with names and weights, in words or in a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwetok.fields import did_you_mean
from uniwetok.train import TrainingError
from uniwetok.train.data.mixture import is_number, read_weights, write_weights
from uwt_images.hub import DATA_PREFIX

_NAMED = re.compile(r"([\w-]+)=(.*)", re.DOTALL)
_KEYS = ("path", "weight", "image", "caption")


@dataclass(frozen=True)
class Columns:
    """Columns of a Parquet table; None finds them by their types and usual names."""

    image: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class DataPlace:
    """Where one source of training data is."""

    place: str
    """A path, a brace pattern of shards, or ``hf:REPO[:CONFIG][@SPLIT]``."""
    name: str = ""
    """Empty where it is the only one and was not named."""
    weight: float | None = None
    """As given."""
    columns: Columns = Columns()

    @property
    def path(self) -> Path | None:
        """The path that must be there; None for a pattern or a place on the Hub."""
        is_path = not self.place.startswith(DATA_PREFIX) and "{" not in self.place
        return Path(self.place).expanduser() if is_path else None


def read_places(words: Sequence[str]) -> list[DataPlace]:
    """Read ``PATH``, ``NAME=PLACE[@WEIGHT] …`` or the path of a TOML file of sources.

    Raises:
        TrainingError: a word has no name where there are several, a name comes twice, or the file
            is not one of sources.
    """
    places = [place for word in words for place in _read_word(word)]
    for place in places:
        if not (place.place or place.name):
            raise TrainingError("--data is empty: write where it is, such as --data photos/")
        if len(places) > 1 and not place.name:
            raise TrainingError(
                f"--data {place.place}: of several sources each has a name: NAME={place.place}@0.5"
            )
        if not place.place:
            raise TrainingError(f"--data {place.name}=: write where it is, {place.name}=PATH@0.5")
    names = [place.name for place in places]
    for name in names:
        if names.count(name) > 1:
            raise TrainingError(f"--data: source {name} is given twice; give each its own name")
    return places


def weigh(places: Sequence[DataPlace], preset: Sequence[str]) -> tuple[str, ...]:
    """Settle the weights of the sources, as `read_weights` reads them; empty for an unnamed one.

    Args:
        places: the sources.
        preset: the settings' own mixture, which knows names, and weights that were not given.

    Raises:
        TrainingError: a name is not in the preset's mixture, one of that is missing, or a weight
            is missing or not positive.
    """
    if not any(place.name for place in places):
        return ()
    known = read_weights(preset)
    weights: dict[str, float] = {}
    for place in places:
        if known and place.name not in known:
            raise TrainingError(
                f"--data: the settings mix no source {place.name!r}; "
                f"{did_you_mean(place.name, known)}; or --set data.mixture= to name your own"
            )
        weight = known.get(place.name) if place.weight is None else place.weight
        if weight is None and len(places) > 1:
            raise TrainingError(
                f"--data: source {place.name} has no weight; write "
                f"{place.name}={place.place}@0.5 (weights need not sum to 1)"
            )
        weights[place.name] = 1.0 if weight is None else weight
    missing = [name for name in known if name not in weights]
    if missing and any(place.weight is None for place in places):
        raise TrainingError(
            f"--data: the settings also mix {', '.join(missing)}; give {missing[0]}=PATH, or "
            f"weights of their own to all that are given"
        )
    try:
        mixture = write_weights(weights)
        read_weights(mixture)
    except ValueError as error:
        raise TrainingError(f"--data: {error}") from error
    return mixture


def _read_word(word: str) -> list[DataPlace]:
    path = Path(word).expanduser()
    if path.suffix.lower() == ".toml" and path.is_file():
        return _read_file(path)
    named = _NAMED.fullmatch(word)
    # A path that holds an equals sign is a path where it is there.
    if named is None or path.exists():
        return [DataPlace(word)]
    place, at, number = named[2].rpartition("@")
    if at and is_number(number):
        return [DataPlace(place, named[1], float(number))]
    return [DataPlace(named[2], named[1])]


def _read_file(path: Path) -> list[DataPlace]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"--data {path}: cannot be read ({error})") from error
    if not tables:
        raise TrainingError(f"--data {path}: names no source; write [NAME], path and weight")
    return [_read_table(path, name, table) for name, table in tables.items()]


def _read_table(path: Path, name: str, table: Any) -> DataPlace:
    where = f"--data {path}: [{name}]"
    if not isinstance(table, Mapping):
        raise TrainingError(f"--data {path}: {name} is no table; write [{name}], path and weight")
    for key in table:
        if key not in _KEYS:
            raise TrainingError(f"{where}: there is no {key!r}; {did_you_mean(key, _KEYS)}")
    weight = table.get("weight")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
        raise TrainingError(f"{where}: weight={weight!r} is no number; write weight = 0.5")
    texts = {key: table.get(key) for key in ("path", "image", "caption")}
    for key, text in texts.items():
        if not isinstance(text, str) and (key == "path" or text is not None):
            raise TrainingError(f'{where}: {key} is no text; write {key} = "…"')
    place = str(texts["path"])
    if not place:
        raise TrainingError(f'{where}: path is empty; write path = "…"')
    if not place.startswith(DATA_PREFIX):
        # As written beside the file, wherever the command is run.
        place = str(path.parent / Path(place).expanduser())
    return DataPlace(
        place,
        name,
        None if weight is None else _float(weight, where),
        Columns(texts["image"], texts["caption"]),
    )


def _float(weight: float, where: str) -> float:
    try:
        return float(weight)
    except OverflowError as error:
        raise TrainingError(
            f"{where}: the weight is too large for a number; write weight = 0.5"
        ) from error
