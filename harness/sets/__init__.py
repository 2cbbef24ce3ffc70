"""Metrics between two sets of images given as files: what `uwt-eval metrics A B` does."""
