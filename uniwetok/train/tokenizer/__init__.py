"""Training recipe of the tokenizer: settings, networks, losses and step."""
