"""Losses that train the tokenizer."""

from __future__ import annotations

from uniwetok.losses.adversarial import DiscriminatorLoss, DiscriminatorTerms, PatchDiscriminator
from uniwetok.losses.config import (
    AdversarialConfig,
    DistillationConfig,
    EntropyConfig,
    TokenizerLossConfig,
    commitment_weight,
)
from uniwetok.losses.errors import MissingWeights
from uniwetok.losses.perceptual import Lpips
from uniwetok.losses.teachers import EfficientNetLiteTeacher, OpenClipTeacher, Teacher
from uniwetok.losses.total import TokenizerLoss, TokenizerTerms

__all__ = [
    "AdversarialConfig",
    "DiscriminatorLoss",
    "DiscriminatorTerms",
    "DistillationConfig",
    "EfficientNetLiteTeacher",
    "EntropyConfig",
    "Lpips",
    "MissingWeights",
    "OpenClipTeacher",
    "PatchDiscriminator",
    "Teacher",
    "TokenizerLoss",
    "TokenizerLossConfig",
    "TokenizerTerms",
    "commitment_weight",
]
