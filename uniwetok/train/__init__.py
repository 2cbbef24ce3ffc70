"""Training of the tokenizer: its settings, data, loop and checkpoints."""
