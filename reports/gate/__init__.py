"""Regression gates: rules, verdicts, and the forms in which they are reported."""
