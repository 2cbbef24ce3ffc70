"""Training of the unified multimodal model on packed sequences of text and images."""
