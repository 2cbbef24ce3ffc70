"""The photographs that train `uniwetok-nano`: `python -m uniwetok.nano.photos --out DIR`."""
