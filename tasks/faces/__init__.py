"""Faces after reconstruction: who they still are, and where their features lie."""
