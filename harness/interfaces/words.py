"""Words that records are written in, and digests of them: what is needed before any record is.

Pydantic is imported with the records, in `harness.interfaces.types`, which offers these too.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

COMPUTED = "ok"
"""`MetricValue.status` of a metric that has a value."""


class Status(StrEnum):
    """What became of one sample in one stage. A failure is never a 0 and never a guess."""

    OK = "ok"
    MODEL_ERROR = "model_error"
    DECODE_ERROR = "decode_error"
    PARSE_ERROR = "parse_error"
    JUDGE_ERROR = "judge_error"
    MISSING = "missing"


TRIED_AGAIN = (Status.MODEL_ERROR, Status.JUDGE_ERROR)
"""Failures that may pass: the next run works on these samples again."""


class RunStatus(StrEnum):
    """Whether a result may be compared: every sample counted, or not."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


def canonical_json(value: Any) -> str:
    """Serialise to the one JSON text that digests are taken of: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Stage(StrEnum):
    """The stages of a run, in order; a setting belongs to the first that it can change."""

    GENERATE = "generate"
    OBSERVE = "observe"
    SCORE = "score"
