"""`uniwetok-nano`: the tokenizer small enough to ship, and what it is trained on."""
