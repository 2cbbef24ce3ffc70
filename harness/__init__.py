"""The evaluation engine behind `uwt-eval`; knows no model by name and imports no torch."""
