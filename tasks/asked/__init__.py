"""Benchmarks that are prompts, questions about each, and a model that answers from the picture."""
