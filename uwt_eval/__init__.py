"""`uwt-eval`, a benchmark harness for image tokenizers and models that draw: its public name."""

__version__ = "0.1.0"
