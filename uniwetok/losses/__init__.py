"""Losses that train the tokenizer; names are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniwetok.lazy import lazy

if TYPE_CHECKING:
    from uniwetok.losses.adversarial import (
        DiscriminatorLoss,
        DiscriminatorTerms,
        PatchDiscriminator,
    )
    from uniwetok.losses.config import (
        AdversarialConfig,
        DistillationConfig,
        EntropyConfig,
        MissingWeights,
        PriorConfig,
        TokenizerLossConfig,
        commitment_weight,
    )
    from uniwetok.losses.perceptual import Lpips
    from uniwetok.losses.prior import GenerativeAwarePrior
    from uniwetok.losses.teachers import EfficientNetLiteTeacher, OpenClipTeacher, Teacher
    from uniwetok.losses.total import TokenizerLoss, TokenizerTerms
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "AdversarialConfig": "config",
            "DiscriminatorLoss": "adversarial",
            "DiscriminatorTerms": "adversarial",
            "DistillationConfig": "config",
            "EfficientNetLiteTeacher": "teachers",
            "EntropyConfig": "config",
            "GenerativeAwarePrior": "prior",
            "Lpips": "perceptual",
            "MissingWeights": "config",
            "OpenClipTeacher": "teachers",
            "PatchDiscriminator": "adversarial",
            "PriorConfig": "config",
            "Teacher": "teachers",
            "TokenizerLoss": "total",
            "TokenizerLossConfig": "config",
            "TokenizerTerms": "total",
            "commitment_weight": "config",
        },
    )

__all__ = [
    "AdversarialConfig",
    "DiscriminatorLoss",
    "DiscriminatorTerms",
    "DistillationConfig",
    "EfficientNetLiteTeacher",
    "EntropyConfig",
    "GenerativeAwarePrior",
    "Lpips",
    "MissingWeights",
    "OpenClipTeacher",
    "PatchDiscriminator",
    "PriorConfig",
    "Teacher",
    "TokenizerLoss",
    "TokenizerLossConfig",
    "TokenizerTerms",
    "commitment_weight",
]
