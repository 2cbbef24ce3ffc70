"""Tokenizers of VQGAN's family, of other projects: images to codes of a codebook, and back."""

from uniwetok.vqgan.forms import describe, load
from uniwetok.vqgan.model import VQGAN, VQGANConfig

__all__ = ["VQGAN", "VQGANConfig", "describe", "load"]
