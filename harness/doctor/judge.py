"""Whether the judges' endpoint answers. Of its key nothing but its presence is ever said."""

from __future__ import annotations

import os
from collections.abc import Iterator

from harness.doctor.finding import Finding
from harness.interfaces.errors import UserError
from harness.interfaces.extras import lacking
from harness.judges import JudgeSettings

_SETTINGS = JudgeSettings(client="openai", model="any", max_tokens=1, jpeg_quality=90)
"""No reply is asked for; only the endpoint is looked at."""


def find() -> Iterator[Finding]:
    """The endpoint, the key's presence, and an answer that costs nothing."""
    from harness.judges.openai_judge import KEYS, OpenAIJudge

    if text := lacking("openai", "tenacity"):
        what, _, fix = text.partition(": ")
        yield Finding("judge", "warning", f"a benchmark with a judge {what}", fix)
        return
    present = [name for name in KEYS if os.environ.get(name, "").strip()]
    keys = " or ".join(KEYS)
    try:
        judge = OpenAIJudge(_SETTINGS)
    except UserError as error:
        yield Finding("judge", "error", str(error), "set UWT_EVAL_JUDGE_URL to the endpoint")
        return
    where = str(judge.identity["endpoint"])
    if not present:
        text = f"{where}: no key in {keys}; benchmarks with a judge cannot be scored"
        fix = f"set {KEYS[0]} (any text for an endpoint that asks for none)"
        yield Finding("judge", "warning", text, fix)
        return
    try:
        judge.check()
    except UserError as error:
        fix = f"mend UWT_EVAL_JUDGE_URL or {present[0]}, or start the endpoint"
        yield Finding("judge", "error", str(error), fix)
        return
    yield Finding("judge", "ok", f"{where} answers, key from {present[0]}")
