"""Image files as they lie about: which count, of which split, whether whole, and their pixels.

Evaluation and training read through these rules, so that both see the same pictures; of our
packages this one imports none.
"""
