"""Judges: models behind an endpoint that are asked for an opinion, and every reply that was paid.

A benchmark builds `JudgeRequest`s and hands them to a `Judge` from the registry `JUDGES`. Replies
are kept by request before anything else is done with them, so that no request is paid twice.
"""

from harness.judges.exchange import Judge, JudgeReply, JudgeRequest, JudgeSettings

__all__ = ["Judge", "JudgeReply", "JudgeRequest", "JudgeSettings"]
