"""Codes of training images: the views they are made of, kept on disk or encoded on the way."""
