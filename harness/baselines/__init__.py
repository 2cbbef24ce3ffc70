"""Baselines that need no weights: image codecs at a byte budget, and the identity."""
