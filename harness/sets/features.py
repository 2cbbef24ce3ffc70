"""Inception features of a set of images, kept on disk so that no image is seen twice.

A set's features lie in the cache folder under the set's digest and everything else they depend on,
a file for every block of images and output: `CACHE/sets/KEY/000012-pool3.npy`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data import assets
from harness.data.manifest import blocks
from harness.data.settings import read_settings
from harness.data.store import Store
from harness.engine.world import reproducible
from harness.interfaces import OnProgress
from harness.interfaces.errors import DecodeError, UserError
from harness.interfaces.types import digest_of
from harness.sets.images import ImageSet

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.inception import InceptionFeatures, Output

BLOCK = 32
"""Images a file; fixed, because a network's last bits may depend on what it sees together."""


@dataclass(frozen=True)
class SetFeatures:
    """Features of the images that could be read, in the set's order."""

    ids: list[str]
    outputs: Mapping[str, np.ndarray]
    """float32 (n, width) by output name."""
    failures: Mapping[str, str]
    """Why images could not be read, by id."""


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(torch.device(device)) if device != "cpu" else "cpu"


class SetExtractor:
    """Extracts and remembers features under one protocol on one device.

    Args:
        settings: The protocol's `inception` table.
        device: 'cpu' or 'cuda'.

    Raises:
        Unavailable: The network's weights are missing.
    """

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        self._settings = settings
        self._device = device
        self._path = assets.locate("inception")
        self._built: InceptionFeatures | None = None

    def _network(self) -> InceptionFeatures:
        from harness.metrics.inception import INPUT_RULES, InceptionFeatures

        if self._built is None:
            self._built = InceptionFeatures(
                self._path,
                *INPUT_RULES[self._settings["input"]],
                device=self._device,
                micro_batch=8 if self._device == "cpu" else BLOCK,
            )
        return self._built

    def _store(self, images: ImageSet) -> Store:
        import torch

        key = digest_of(
            {
                "set": images.digest,
                "settings": dict(self._settings),
                "weights": assets.find("inception").sha256,
                "device": _device_name(self._device),
                "torch": torch.__version__,
            }
        )
        return Store(read_settings().cache / "sets" / key[:32])

    def extract(
        self,
        images: ImageSet,
        outputs: Sequence[Output],
        on_progress: OnProgress | None = None,
    ) -> SetFeatures:
        """Features of all images, computed where they are not on disk yet."""
        store = self._store(images)
        numbered = list(enumerate(blocks(range(len(images.ids)), BLOCK)))
        with store.locked(), reproducible(self._device) as lanes:
            missing = [
                (number, block)
                for number, block in numbered
                if not _finished(store, number, outputs)
            ]
            if missing:
                self._network()
            done = len(numbered) - len(missing)
            with ThreadPoolExecutor(lanes) as pool:
                under_way: deque[Future[None]] = deque()
                for number, block in missing:
                    under_way.append(
                        pool.submit(self._block, store, images, number, block, outputs)
                    )
                    if len(under_way) > lanes:
                        under_way.popleft().result()
                        done += 1
                        if on_progress is not None:
                            on_progress(done * BLOCK, len(images.ids))
                for future in under_way:
                    future.result()
            return _gather(store, images, [number for number, _ in numbered], outputs)

    def _block(
        self,
        store: Store,
        images: ImageSet,
        number: int,
        block: Sequence[int],
        outputs: Sequence[Output],
    ) -> None:
        prepared: list[Tensor] = []
        status: list[str] = []
        for index in block:
            try:
                pixels = images.load(index)
                prepared.append(self._prepare(pixels))
                status.append("")
            except DecodeError as error:
                status.append(str(error))
        rows: Mapping[Output, Tensor] = {}
        if prepared:
            import torch

            rows = self._network().extract(torch.cat(prepared))
        for output in outputs:
            features = rows[output].cpu().numpy() if prepared else np.empty((0, 0), np.float32)
            broken = ~np.isfinite(features).all(axis=1)
            if broken.any():
                readable = [i for i, text in zip(block, status, strict=True) if not text]
                name = images.ids[readable[int(broken.argmax())]]
                raise UserError(f"{images.label}: features of image {name!r} are not finite")
            store.write(_name(number, output), _saver(features))
        store.write_json(_status_name(number), status)

    def _prepare(self, pixels: np.ndarray) -> Tensor:
        import torch

        batch = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        network = self._network()
        return network.prepare(batch.float() / 255 if network.scaling == "unit" else batch)


def _finished(store: Store, number: int, outputs: Sequence[Output]) -> bool:
    names = [_name(number, output) for output in outputs] + [_status_name(number)]
    return all((store.root / name).is_file() for name in names)


def _status_name(number: int) -> str:
    return f"{number:06d}.json"


def _name(number: int, output: str) -> str:
    return f"{number:06d}-{output}.npy"


def _saver(array: np.ndarray) -> Any:
    return lambda path: np.save(path, array, allow_pickle=False)


def _gather(
    store: Store, images: ImageSet, numbers: Sequence[int], outputs: Sequence[Output]
) -> SetFeatures:
    import json

    status = [
        text
        for number in numbers
        for text in json.loads((store.root / _status_name(number)).read_text(encoding="utf-8"))
    ]
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    for output in outputs:
        for number in numbers:
            part = np.load(store.root / _name(number, output), allow_pickle=False)
            if len(part):
                parts[output].append(part)
    return SetFeatures(
        ids=[name for name, text in zip(images.ids, status, strict=True) if not text],
        outputs={output: np.concatenate(parts[output]) for output in parts},
        failures={name: text for name, text in zip(images.ids, status, strict=True) if text},
    )
