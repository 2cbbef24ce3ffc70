"""Our own scorers of the understanding suites, equal to lmms-eval's reply by reply.

Each takes a row of the suite's data set and a reply, and raises `SampleFailure` with
`Status.PARSE_ERROR` where lmms-eval would draw an answer at random.
"""

from tasks.vqa.scorers.judged import Document, Judge, Judged, UnparsedReply

__all__ = ["Document", "Judge", "Judged", "UnparsedReply"]
