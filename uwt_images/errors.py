"""What can be wrong with image files; callers give it the kind of error that they report."""


class ListingError(Exception):
    """A folder, archive or split cannot be listed; one line says what, where and how to mend it."""


class UnreadableImage(Exception):
    """One image cannot be read whole; one line says why."""
