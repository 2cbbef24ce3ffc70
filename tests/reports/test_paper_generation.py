"""The paper's rows beside a measured `imagenet-gen`."""

from __future__ import annotations

from harness.interfaces.registry import METRICS
from reports.paper import reference_rows
from tasks.gen.task import IMAGENET_GEN


def test_the_three_sizes_are_told_apart() -> None:
    rows = reference_rows("imagenet-gen")
    assert {row.source: row.values["gfid"] for row in rows} == {
        "Tab. 9, UniWeTok-B": 2.35,
        "Tab. 9, UniWeTok-L": 1.68,
        "Tab. 9, UniWeTok-H": 1.38,
    }
    assert all(row.n == 50_000 for row in rows)


def test_what_is_printed_is_what_is_measured() -> None:
    measured = set(IMAGENET_GEN.spec.metrics)
    assert measured <= set(METRICS.names())
    assert all(set(row.values) <= measured for row in reference_rows("imagenet-gen"))
