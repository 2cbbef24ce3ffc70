"""Codes as files: encode images, decode what was encoded, reconstruct."""
