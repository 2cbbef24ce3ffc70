"""The UniWeTok image tokenizer: 64 binary tokens of 128 bits for a 256x256 image."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
