"""Benchmarks, one file each; their protocols lie in `tasks/protocols`."""
