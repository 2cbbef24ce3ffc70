"""Training images: where they lie, how they are cut, and a stream that starts at any step."""
