"""Leaderboards built from result records alone."""
