"""Runs: from a request over the plan, the work and its files to a scored record."""
