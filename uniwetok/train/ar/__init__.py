"""Training of the class-to-image model on codes."""
