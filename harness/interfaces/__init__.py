"""What models, tasks, extractors and metrics offer the engine: structural types, no base class."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
