"""Measured tables: `nox -s bench`, or `python -m benchmarks NAME …` for some of them."""
