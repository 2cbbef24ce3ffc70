"""Files of repositories of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from uniwetok.weights import CheckpointError, first_line


def snapshot(name: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    """Fetch files of a repository, or find them in the cache, where they lie by commit.

    Args:
        name: "owner/name".
        patterns: of the files that are wanted.
        revision: branch, tag or commit.

    Returns:
        The folder that holds them, named by the commit.

    Raises:
        CheckpointError: there is no such repository, or it cannot be fetched.
    """
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{name}: neither a local folder nor a repository that can be fetched "
            f"({first_line(error)})"
        ) from error
