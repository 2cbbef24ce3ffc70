"""Lengths of all samples and sizes of all images: read once, kept on disk.

Packing needs every length before the first step, so that any step's rows can be told from its
number.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from uniwetok.files import replaced
from uniwetok.mllm.layout import SequenceBuilder
from uniwetok.train import TrainingError
from uniwetok.train.codes.integrity import content_digest, state_digest
from uniwetok.train.data.reading import READS_BEFORE_STOP, OnBlock, read_ahead
from uniwetok.train.mllm.config import SequenceData
from uniwetok.train.mllm.data.layout import most_tokens
from uniwetok.train.mllm.data.records import KINDS, RecordError
from uniwetok.train.mllm.data.sizes import MOST_STRETCH, SizeRule
from uniwetok.train.mllm.data.source import RecordSource, image_size
from uwt_images.listing import UnreadableImage

UNREADABLE = 0
"""Length of a sample whose images cannot be read."""
_VERSION = 2
_BLOCK = 64
_INDEX_FILE = "samples.index"


@dataclass(frozen=True, eq=False)
class SampleIndex:
    """What is known of every sample before it is read."""

    tokens: NDArray[np.int32]
    """Positions of its longest layout; `UNREADABLE` where an image cannot be read."""
    kinds: NDArray[np.int8]
    """Places in `KINDS`."""
    firsts: NDArray[np.int64]
    """(samples + 1,): its images are entries firsts[i] .. firsts[i + 1] - 1 of ``images``."""
    images: NDArray[np.int64]
    """(references,): number of the image, the same wherever the same one is named."""
    sizes: NDArray[np.int32]
    """(images, 2): height and width in pixels that each is resized to."""
    homes: NDArray[np.int64]
    """(images, 2): a sample that names it, and its place among that sample's images."""
    file_names: NDArray[np.uint8]
    """Of the records and of all images that they name, in order: a list in JSON."""
    first_unreadable: str
    """Why a sample cannot be read; empty where all can."""
    stamp: str = ""
    """State of all that the index depends on; empty where a change of it might not show."""

    def __len__(self) -> int:
        return len(self.tokens)

    def image_sizes(self, index: int) -> list[tuple[int, int]]:
        """Give height and width of each image of a sample."""
        return [(height, width) for height, width in self.sizes[self.image_rows(index)].tolist()]

    def image_rows(self, index: int) -> NDArray[np.int64]:
        """Give the numbers of a sample's images."""
        return self.images[self.firsts[index] : self.firsts[index + 1]]

    def files(self) -> Iterator[Path]:
        """Give the files of the records and of the images."""
        return map(Path, json.loads(self.file_names.tobytes()))

    def content(self) -> str:
        """SHA-256 of these files' content, all of which is read, and of the images' sizes."""
        arrays = (self.firsts, self.images, self.sizes, self.homes)
        facts = (hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)
        return content_digest(facts, self.files())

    def usable(self, config: SequenceData) -> tuple[NDArray[np.int64], list[str]]:
        """Give the samples that fit into a row, and what a user must know of the others.

        Raises:
            TrainingError: none fits, samples are too long and to be refused, or too many are
                unreadable.
        """
        readable = self.tokens != UNREADABLE
        fits = readable & (self.tokens <= config.row_tokens)
        lost, long = int((~readable).sum()), int((readable & ~fits).sum())
        notices = []
        if lost:
            notices.append(
                f"{lost:,} of {len(self):,} samples have unreadable images and are left out; "
                f"first {self.first_unreadable}"
            )
        if lost > config.corrupt_limit * len(self) and len(self) >= READS_BEFORE_STOP:
            raise TrainingError(
                f"{notices[0]}: more than data.corrupt_limit={config.corrupt_limit}; repair or "
                f"remove them, or raise data.corrupt_limit"
            )
        if long:
            most = int(self.tokens.max())
            text = (
                f"{long:,} of {len(self):,} samples are longer than the limit of "
                f"data.row_tokens={config.row_tokens:,} (the longest has {most:,})"
            )
            if config.over_long == "refuse":
                raise TrainingError(f"{text}; shorten them, or --set data.over_long=skip")
            notices.append(f"{text} and are left out")
        if not fits.any():
            raise TrainingError(f"no sample can be used: {'; '.join(notices)}")
        return np.flatnonzero(fits), notices


def index_samples(
    source: RecordSource,
    builder: SequenceBuilder,
    config: SequenceData,
    rule: SizeRule,
    folder: Path,
    on_block: OnBlock = lambda *_: None,
) -> SampleIndex:
    """Read what is kept in ``folder``, or look at all records and keep it there.

    Raises:
        TrainingError: a record is malformed, or of a kind that is not trained on.
    """
    blocks = _Blocks(source, builder, config, rule)
    facts = [blocks.settings()]
    kept = _kept(folder / _INDEX_FILE)
    if kept is not None and kept.stamp and kept.stamp == state_digest(facts, kept.files()):
        return kept
    began = time.time_ns()
    index = _read(blocks, on_block)
    index = replace(index, stamp=state_digest(facts, index.files(), began))
    arrays = io.BytesIO()
    np.savez(arrays, **vars(index))
    with replaced(folder / _INDEX_FILE) as partial:
        partial.write_bytes(_digest(arrays.getvalue()) + arrays.getvalue())
    return index


def _kept(path: Path) -> SampleIndex | None:
    """Read the index that was kept, behind its digest; None where there is none as written."""
    data = path.read_bytes() if path.is_file() else b""
    size = len(_digest(b""))
    if data[:size] != _digest(data[size:]):
        return None
    with np.load(io.BytesIO(data[size:]), allow_pickle=False) as arrays:
        texts = {name: str(arrays[name]) for name in ("first_unreadable", "stamp")}
        return SampleIndex(**{**arrays, **texts})


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@dataclass(frozen=True)
class _Look:
    """What one record tells."""

    tokens: int
    kind: int
    images: list[tuple[str, tuple[int, int]]]
    """Key and resized height and width of each."""
    files: Sequence[str] = ()
    """That hold them, the unreadable ones too."""
    fault: str = ""
    """Why the record is refused."""
    unreadable: str = ""


@dataclass(frozen=True)
class _Blocks(Dataset[list[_Look]]):
    """Looks at the block of records that starts at a number."""

    source: RecordSource
    builder: SequenceBuilder
    config: SequenceData
    rule: SizeRule

    def settings(self) -> str:
        """SHA-256 of the names of the records' files, and of what lengths depend on."""
        vocabulary = sorted(self.builder.tokenizer.get_vocab().items())
        facts = {
            "version": _VERSION,
            "source": [str(path.resolve()) for path in self.source.paths],
            "images": str(self.source.images and self.source.images.resolve()),
            "vocabulary": hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest(),
            "parallel": self.builder.config.parallel_tokens,
            "rule": asdict(self.rule),
            "describes": bool(self.config.describe_share),
            "kinds": self.config.kinds,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def __getitem__(self, start: int) -> list[_Look]:
        return [self._look(i) for i in range(start, min(start + _BLOCK, len(self.source)))]

    def _look(self, index: int) -> _Look:
        file, line = self.source.where(index)
        try:
            record = self.source.record(index)
        except RecordError as error:
            return _Look(0, 0, [], fault=f"{file}:{line}: {error}")
        if record.kind not in self.config.kinds:
            kinds = ", ".join(self.config.kinds)
            fault = f"{record.kind!r} is not trained on here, but {kinds}"
            fault = f"{file}:{line}: kind: {fault}; remove it, or set data.kinds"
            return _Look(0, 0, [], fault=fault)
        kind = KINDS.index(record.kind)
        files = [str(self.source.image_file(index, each.name)) for each in record.pictures]
        images = []
        for picture in record.pictures:
            try:
                size = image_size(self.source, index, picture.name)
            except UnreadableImage as error:
                return _Look(0, kind, [], files, "", f"{file}:{line}: {picture.field}: {error}")
            if self.rule.stretch(*size) > MOST_STRETCH:
                reason = f"{picture.name} of {size[0]}x{size[1]} pixels is too long a strip"
                return _Look(0, kind, [], files, "", f"{file}:{line}: {picture.field}: {reason}")
            key = self.source.image_key(index, picture.name)
            images.append((key, self.rule.nearest(*size)))
        side = self.builder.config.downsample
        grids = [(height // side, width // side) for _, (height, width) in images]
        describes = self.config.describe_share > 0
        return _Look(most_tokens(record, grids, self.builder, describes), kind, images, files)


def _read(blocks: _Blocks, on_block: OnBlock) -> SampleIndex:
    looks: list[_Look] = []
    records = len(blocks.source)
    for block in read_ahead(blocks, range(0, records, _BLOCK), blocks.config.workers):
        looks += block
        on_block(len(looks), records)
    _refuse([look.fault for look in looks if look.fault], len(looks))
    numbers: dict[str, int] = {}
    images, sizes, homes = [], [], []
    for sample, look in enumerate(looks):
        for place, (key, size) in enumerate(look.images):
            if key not in numbers:
                numbers[key] = len(numbers)
                sizes.append(size)
                homes.append((sample, place))
            images.append(numbers[key])
    counts = [len(look.images) for look in looks]
    files = dict.fromkeys(map(str, blocks.source.paths))
    files |= dict.fromkeys(file for look in looks for file in look.files)
    return SampleIndex(
        tokens=np.array([look.tokens for look in looks], np.int32),
        kinds=np.array([look.kind for look in looks], np.int8),
        firsts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        images=np.array(images, np.int64),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        homes=np.array(homes, np.int64).reshape(-1, 2),
        file_names=np.frombuffer(json.dumps(list(files)).encode(), np.uint8),
        first_unreadable=next((look.unreadable for look in looks if look.unreadable), ""),
    )


def _refuse(faults: Sequence[str], records: int) -> None:
    if faults:
        more = f" ({len(faults):,} of {records:,} records are refused)" if len(faults) > 1 else ""
        raise TrainingError(f"{faults[0]}{more}; `uwt-eval data check` lists all")
