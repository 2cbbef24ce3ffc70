"""Image files as they lie about: which count, of which split, whole or not, and their pixels.

Evaluation and training read through these rules, so that both see the same pictures, get
repositories of the hub in one way, and record what a GPU does in one way; of our packages this one
imports none.
"""
