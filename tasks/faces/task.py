"""Reconstruction of faces: who they still are to a recogniser, and where their features lie."""

from __future__ import annotations

from harness.interfaces import Label
from harness.interfaces.types import TaskSpec
from harness.metrics.scores import ShareOfSums
from tasks.recon.task import DEFAULTS, MarkedReconTask
from tasks.shared.classes import SizeClasses

SIZES = SizeClasses((0, 28, 40, 56, 80))
"""Sides of a face's box in pixels."""


_ABOUT = {
    "face_similarity": "Cosine of the embeddings of a face before and after, the mean of faces.",
    "faces_same": "Share of faces that the recogniser takes for the same person.",
    "faces_lost": "Share of faces that the detector does not find again.",
    "landmark_error": "How far a face's landmarks moved, over the distance of its eyes.",
}


def _share(
    column: str, title: str, *, better: bool, percent: bool = False, end: str = ""
) -> ShareOfSums:
    about = _ABOUT[column]
    label = Label(title, 1 if percent else 3, percent=percent, optional=bool(end), about=about)
    none = "no face of that size" if end else "no face"
    return ShareOfSums(
        f"{column}{end}",
        f"faces{end}",
        "face_measures",
        label=label,
        higher_is_better=better,
        none=none,
    )


FACE_SIMILARITY = _share("face_similarity", "similarity", better=True)
FACES_SAME = _share("faces_same", "same person", better=True, percent=True)
FACES_LOST = _share("faces_lost", "lost", better=False, percent=True)
LANDMARK_ERROR = _share("landmark_error", "landmarks", better=False)
(
    FACE_SIMILARITY_0_28,
    FACE_SIMILARITY_28_40,
    FACE_SIMILARITY_40_56,
    FACE_SIMILARITY_56_80,
    FACE_SIMILARITY_80_UP,
) = (
    _share("face_similarity", f"similarity {title}", better=True, end=f"_{name}")
    for name, title in SIZES.titles().items()
)

FACE_RECON = MarkedReconTask(
    TaskSpec(
        name="face-recon",
        version=1,
        title="Reconstruction of faces: who they still are to a recogniser",
        kind="recon-faces",
        interface=("VisualTokenizer", "ImageFiles"),
        dataset="views of one portrait, or a folder of images with faces",
        layout="a folder of images, with faces.jsonl or faces.csv where faces need not be found: "
        "file and the box left, top, right, bottom",
        metrics=(
            *("face_similarity", "faces_same", "faces_lost", "landmark_error", "bpp", "psnr"),
            *(f"face_similarity_{name}" for name in SIZES.names()),
        ),
        protocols=("exact",),
        default_models=("identity", *DEFAULTS),
    ),
    setting="face_images",
    embedded="tasks.faces.portraits:Portraits",
    files=("faces.jsonl", "faces.csv"),
    unmarked="faces are those that dlib finds on the originals",
    texts=False,
)
