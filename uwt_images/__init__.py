"""Image files as they lie about: which count, of which split, whether whole, and their pixels.

Evaluation and training read through these rules, so that both see the same pictures; of our
packages this one imports none.
"""


class ListingError(Exception):
    """A folder, archive or split cannot be listed; one line says what, where and how to mend it."""


class UnreadableImage(Exception):
    """One image cannot be read whole; one line says why."""
