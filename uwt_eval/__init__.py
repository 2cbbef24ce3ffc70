"""`uwt-eval`, a benchmark harness for image tokenizers and models that draw: its public name.

``evaluate``, ``tokenizer``, ``compare``, ``metrics`` and ``load_runs`` are the command line from
Python; see docs/python.md. Importing this package imports none of them before they are asked for.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
