"""How alike faces of originals and of reconstructions are to dlib's networks."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.data.digests import weights_sha256
from harness.interfaces import Columns
from harness.interfaces.errors import Unavailable
from harness.interfaces.extras import library
from harness.interfaces.observing import Once
from tasks.faces.settings import FaceRules
from tasks.faces.task import SIZES
from tasks.recon.marks import Mark, MarkedPairs, summed
from tasks.shared.remembered import Remembered

_SAME = 0.6
"""Distance of embeddings up to which dlib takes two faces for one person's."""
_NETWORKS = ("shape_predictor_68_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")
_EYES = (slice(36, 42), slice(42, 48))

Box = tuple[float, float, float, float]


class Face(NamedTuple):
    """A face at a place of an image."""

    landmarks: np.ndarray
    """float64 (68, 2), x and y."""
    embedding: np.ndarray
    """float64 (128,)."""


_FACES = Remembered[Face](100_000)


class FaceMeasures:
    """Compares every face of the original with the same place of the reconstruction.

    Faces that nobody marked are found on the original. All of them are compared, those too that the
    detector does not find again in the reconstruction, which are counted as lost beside.
    """

    works_on = "cpu"

    def __init__(self, settings: Mapping[str, Any], device: str) -> None:
        del device
        if "faces" not in settings:
            raise Unavailable(
                "the protocol does not say how faces are compared", kind="not applicable"
            )
        self._rules = FaceRules.model_validate(settings["faces"])
        dlib = library("dlib", "comparing faces")
        package = library("face_recognition_models", "comparing faces")
        folder = Path(str(package.__file__)).with_name("models")
        self._networks = Once(functools.partial(_Networks, folder, self._rules))
        self.identity = {
            "version": 1,
            "dlib": dlib.__version__,
            "weights": {name: weights_sha256(folder / name) for name in _NETWORKS},
        }
        """What the measures depend on beside the protocol."""

    def observe(self, pairs: MarkedPairs) -> Columns:
        """Columns of float64 (B,): sums over an image's faces, of all and by size.

        `faces`, `faces_lost`, `faces_same` (no further than 0.6 from the original's embedding),
        `face_similarity` (cosine of the embeddings) and `landmark_error` (mean distance of the
        landmarks over that of the eyes).
        """
        return summed(pairs, self._sums, _COLUMNS)

    def _sums(
        self, original: np.ndarray, reconstruction: np.ndarray, marks: Sequence[Mark] | None
    ) -> defaultdict[str, float]:
        networks = self._networks()
        if marks is None:
            places = networks.found(original)
        else:
            places = [mark.box for mark in marks if mark.box is not None]
        again = networks.found(reconstruction) if places else []
        sums = defaultdict[str, float](float)
        for box in places:
            was, now = networks.face(original, box), networks.face(reconstruction, box)
            lengths = np.linalg.norm(was.embedding) * np.linalg.norm(now.embedding)
            left, right = (was.landmarks[eye].mean(0) for eye in _EYES)
            moved = np.linalg.norm(was.landmarks - now.landmarks, axis=1).mean()
            figures = {
                "faces": 1,
                "faces_lost": all(overlap(box, each) < self._rules.overlap for each in again),
                "faces_same": np.linalg.norm(was.embedding - now.embedding) <= _SAME,
                "face_similarity": was.embedding @ now.embedding / lengths,
                "landmark_error": moved / max(float(np.linalg.norm(left - right)), 1.0),
            }
            size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
            SIZES.add(sums, {name: float(figure) for name, figure in figures.items()}, size)
        return sums


_COLUMNS = SIZES.columns("faces", "faces_lost", "faces_same", "face_similarity", "landmark_error")


class _Networks:
    """dlib's detector, landmarks and embedding."""

    def __init__(self, folder: Path, rules: FaceRules) -> None:
        import dlib

        self._dlib = dlib
        self._rules = rules
        self._detector = dlib.get_frontal_face_detector()
        landmarks, embedding = (str(folder / name) for name in _NETWORKS)
        self._landmarks = dlib.shape_predictor(landmarks)
        self._embedding = dlib.face_recognition_model_v1(embedding)

    def found(self, image: np.ndarray) -> list[Box]:
        """Boxes of the faces in an image, uint8 (H, W, 3)."""
        image = np.ascontiguousarray(image)
        boxes, _, _ = self._detector.run(image, self._rules.enlarged, self._rules.threshold)
        return [(box.left(), box.top(), box.right(), box.bottom()) for box in boxes]

    def face(self, image: np.ndarray, box: Box) -> Face:
        """The face at a place of an image, whatever is there."""
        image = np.ascontiguousarray(image)
        return _FACES(image, lambda: self._seen(image, box), box)

    def _seen(self, image: np.ndarray, box: Box) -> Face:
        place = self._dlib.rectangle(*(round(side) for side in box))
        marks = self._landmarks(image, place)
        points = [(point.x, point.y) for point in marks.parts()]
        embedding = self._embedding.compute_face_descriptor(image, marks)
        return Face(np.array(points, np.float64), np.array(embedding))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return shared / (sum(areas) - shared)
