"""Every column of a comparison is a metric that its task computes."""

from __future__ import annotations

import pytest

from harness.interfaces.registry import METRICS, TASKS
from reports.paper import load_table
from reports.tables.filled import COMPARISONS, PLAIN, measures_of


@pytest.mark.parametrize("number", COMPARISONS)
def test_columns_are_metrics_of_their_tasks(number: int) -> None:
    table = load_table(number)
    for measure in measures_of(table):
        tasks = [
            task for task in table["tasks"] if measure.table in {PLAIN, task, task.split("-")[0]}
        ]
        assert tasks, measure
        for task in tasks:
            assert measure.metric in METRICS
            assert measure.metric in TASKS.get(task).spec.metrics, (task, measure.metric)
            better = METRICS.get(measure.metric).higher_is_better
            assert better is measure.higher_is_better
