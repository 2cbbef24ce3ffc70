"""Reconstruction of text: what a recogniser still reads after encoding and decoding."""

from __future__ import annotations

from harness.interfaces import Label
from harness.interfaces.types import TaskSpec
from harness.metrics.scores import ShareOfSums
from tasks.recon.task import DEFAULTS, MarkedReconTask
from tasks.shared.classes import SizeClasses

HEIGHTS = SizeClasses((0, 12, 16, 20, 26, 34))
"""Of lines, in pixels."""


def _share(
    over: str,
    under: str,
    label: Label,
    *,
    better: bool,
    mean: bool = False,
    none: str = "no text",
) -> ShareOfSums:
    return ShareOfSums(
        over,
        under,
        "text_readings",
        label=label,
        higher_is_better=better,
        none=none,
        mean=mean,
    )


def _errors(
    title: str, end: str = "", *, optional: bool = False, mean: bool = False
) -> ShareOfSums:
    whose = "the mean of images' own" if mean else f"of all lines{' of that height' * bool(end)}"
    label = Label(title, 1, percent=True, optional=optional, about=f"{_EDITS}, {whose}.")
    none = "no line of that height" if end else "no text"
    return _share(f"edits{end}", f"characters{end}", label, better=False, mean=mean, none=none)


_EDITS = "Edits over characters of what a recogniser reads"
CER = _errors("CER")
CER_MEAN = _errors("CER/image", mean=True, optional=True)
CER_ORIGINAL = _share(
    "edits_original",
    "characters",
    Label("CER originals", 1, percent=True, about=f"{_EDITS} on the originals."),
    better=False,
)
WORDS = _share(
    "words_right",
    "words",
    Label("words", 1, percent=True, about="Share of words that a recogniser reads right."),
    better=True,
)
CER_0_12, CER_12_16, CER_16_20, CER_20_26, CER_26_34, CER_34_UP = (
    _errors(f"CER {title}", f"_{name}", optional=True) for name, title in HEIGHTS.titles().items()
)

TEXT_RECON = MarkedReconTask(
    TaskSpec(
        name="text-recon",
        version=1,
        title="Reconstruction of text: what a recogniser still reads",
        kind="recon-text",
        interface=("VisualTokenizer", "ImageFiles"),
        dataset="rendered lines of text, or a folder of images with what stands on them",
        layout="a folder of images, with transcripts.jsonl or transcripts.csv: file, text and, "
        "where it is known, the box left, top, right, bottom",
        metrics=(
            *("cer", "words", "cer_original", "bpp", "psnr", "cer_mean"),
            *(f"cer_{name}" for name in HEIGHTS.names()),
        ),
        protocols=("exact",),
        default_models=("identity", *DEFAULTS),
    ),
    setting="text_images",
    embedded="tasks.text.rendered:RenderedText",
    files=("transcripts.jsonl", "transcripts.csv"),
    unmarked="no transcripts beside the images: the reference is what PP-OCR reads on originals",
    texts=True,
)
