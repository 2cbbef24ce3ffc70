"""What stops the gathering of photographs for a reason the user can mend."""

from __future__ import annotations


class PhotosError(ValueError):
    """The message says what is wrong, where, and how to fix it."""
