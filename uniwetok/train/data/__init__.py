"""Training images: where they lie, how they are cut, and a stream that starts at any step."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
