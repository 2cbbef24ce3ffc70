"""UniWeTok: the paper's tokenizer, autoregressive models, multimodal models and their training.

Importing this package imports nothing else; take what you need from a subpackage, for example
``from uniwetok.tokenizer import UniWeTok``.
"""
