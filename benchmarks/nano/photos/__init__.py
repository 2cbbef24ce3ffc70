"""The photographs that train `uniwetok-nano`: `python -m benchmarks.nano.photos --out DIR`."""
