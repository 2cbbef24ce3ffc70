"""Why two figures differ: one metric under every choice that a protocol makes, one at a time."""
