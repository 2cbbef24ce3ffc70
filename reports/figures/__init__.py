"""Figures from result records, the paper's printed figures and pictures that runs kept."""
