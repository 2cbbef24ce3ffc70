"""The eleven suites of the paper's Table 12: what lmms-eval calls them and how rows are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.vqa.scorers import Document, Judge
from tasks.vqa.scorers.choices import ai2d, realworldqa, scienceqa, seedbench
from tasks.vqa.scorers.consensus import textvqa, vqav2
from tasks.vqa.scorers.literal import chartqa, gqa, mme, pope
from tasks.vqa.scorers.mmmu import mmmu


def _nothing(document: Document) -> str:
    del document
    return ""


def _text_of(column: str) -> Callable[[Document], str]:
    return lambda document: str(document.get(column, ""))


def _chart_category(document: Document) -> str:
    return "human" if document.get("type") == "human_test" else "augmented"


def _subject(document: Document) -> str:
    """MMMU's subject: 'validation_Art_Theory_12' asks about 'Art_Theory'."""
    return "_".join(str(document["id"]).split("_")[1:-1])


def _pair(document: Document) -> str:
    return f"{document['category']}/{document['question_id']}"


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite.

    Args:
        name: What the harness calls it.
        title: What people call it.
        data: The hub's data set, and its subset after a colon where it has several.
        size: Questions, in words.
        judge: Our scorer.
        result_keys: lmms-eval's result by our metric, and what lmms-eval's is multiplied by.
        category: Gives a row's category, for reports and for metrics that count one category.
        pair: Rows with equal answers are scored together; empty where each stands alone.
        images: Columns that hold pictures.
    """

    name: str
    title: str
    data: str
    size: str
    judge: Judge
    result_keys: Mapping[str, str]
    category: Callable[[Document], str] = _nothing
    pair: Callable[[Document], str] = _nothing
    images: tuple[str, ...] = ("image",)


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "seedbench",
            "SEED-Bench",
            "lmms-lab-encoder/SEED-Bench",
            "about 14,200 questions about images and 3,800 about videos",
            seedbench,
            {"accuracy": "seed_image,none", "accuracy_all": "seed_all,none"},
            category=_text_of("data_type"),
        ),
        Suite(
            "pope",
            "POPE",
            "lmms-lab-encoder/POPE",
            "9,000 questions, 3,000 of each split",
            pope,
            {"f1": "pope_f1_score,none", "accuracy": "pope_accuracy,none"},
            category=_text_of("category"),
        ),
        Suite(
            "vqav2",
            "VQAv2",
            "lmms-lab-encoder/VQAv2",
            "214,354 questions of the validation split",
            vqav2,
            {"accuracy": "exact_match,none"},
            category=_text_of("answer_type"),
        ),
        Suite(
            "gqa",
            "GQA",
            "lmms-lab-encoder/GQA:testdev_balanced_instructions",
            "12,578 questions of testdev-balanced",
            gqa,
            {"accuracy": "exact_match,none"},
        ),
        Suite(
            "scienceqa",
            "ScienceQA",
            "lmms-lab-encoder/ScienceQA:ScienceQA-IMG",
            "2,017 questions with a picture",
            scienceqa,
            {"accuracy": "exact_match,none"},
            category=_text_of("subject"),
        ),
        Suite(
            "textvqa",
            "TextVQA",
            "lmms-lab-encoder/textvqa",
            "5,000 questions of the validation split",
            textvqa,
            {"accuracy": "exact_match,none"},
        ),
        Suite(
            "chartqa",
            "ChartQA",
            "lmms-lab-encoder/ChartQA",
            "2,500 questions, half of them by people",
            chartqa,
            {
                "accuracy": "relaxed_overall,none",
                "accuracy_human": "relaxed_human_split,none",
                "accuracy_augmented": "relaxed_augmented_split,none",
            },
            category=_chart_category,
        ),
        Suite(
            "ai2d",
            "AI2D",
            "lmms-lab-encoder/ai2d",
            "3,088 questions",
            ai2d,
            {"accuracy": "exact_match,flexible-extract"},
        ),
        Suite(
            "realworldqa",
            "RealWorldQA",
            "lmms-lab-encoder/RealWorldQA",
            "765 questions",
            realworldqa,
            {"accuracy": "exact_match,none"},
        ),
        Suite(
            "mmmu",
            "MMMU",
            "lmms-lab-encoder/MMMU",
            "900 questions of the validation split",
            mmmu,
            {"accuracy_random": "mmmu_acc,none"},
            category=_subject,
            images=tuple(f"image_{number}" for number in range(1, 8)),
        ),
        Suite(
            "mme",
            "MME",
            "lmms-lab-encoder/MME",
            "2,374 questions, two of each picture",
            mme,
            {"perception": "mme_perception_score,none", "cognition": "mme_cognition_score,none"},
            category=_text_of("category"),
            pair=_pair,
        ),
    )
}
"""By the harness's name, in the order of the table's columns."""


def sample_score(suite: Suite, logged: Mapping[str, Any]) -> float | None:
    """lmms-eval's own score of one reply in its log; None where only the whole set has one."""
    if suite.name == "seedbench" and "seed_all" in logged:
        seen = logged["seed_all"]
        return float(seen["pred"].lower().strip() == seen["answer"].lower().strip())
    for key in ("pope_accuracy", "mme_perception_score", "mme_cognition_score"):
        if isinstance(logged.get(key), Mapping):
            return float(logged[key]["score"])
    for key in ("exact_match", "relaxed_overall"):
        if isinstance(logged.get(key), int | float):
            return float(logged[key])
    return None
