"""Image data: where images lie, how they are decoded, what they are known by."""
