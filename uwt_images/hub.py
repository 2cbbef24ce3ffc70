"""Repositories of the Hugging Face hub: fetched, or found in its cache, where commits lie apart."""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path


class HubError(Exception):
    """A repository cannot be had; the one-line message says why."""


def snapshot(
    name: str, wanted: Sequence[str], revision: str | None = None, unwanted: Sequence[str] = ()
) -> Path:
    """Fetch files of a repository, or find them in the cache where the hub does not answer.

    UWT_EVAL_OFFLINE and HF_HUB_OFFLINE are honoured. `HF_HUB_ETAG_TIMEOUT` is the seconds in which
    the hub has to answer at all, 5 by itself: its own client tries for minutes.

    Args:
        name: "owner/name", as a user gave it.
        wanted: patterns of the files.
        revision: branch, tag or commit of the repository.
        unwanted: patterns of files that are left out of those.

    Returns:
        The folder that holds them, named by the commit.

    Raises:
        HubError: there is no such repository, or it cannot be had.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise HubError(f"{name}: there is no such place, and it is no OWNER/NAME of a repository")
    why = "UWT_EVAL_OFFLINE is set" if _offline() else _unreachable(name)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(wanted),
                ignore_patterns=list(unwanted),
                local_files_only=bool(why),
            )
        )
    except Exception as error:  # By its version the library raises those of requests or httpx.
        absent = why and not isinstance(error, HFValidationError)
        reason = f"not in the hub's cache on this machine, and {why}" if absent else _line(error)
        raise HubError(
            f"{name}: there is no such place, and the repository cannot be had ({reason})"
        ) from error


def _offline() -> bool:
    """Read the variable as the harness's settings do, which see to what is none of these."""
    return os.environ.get("UWT_EVAL_OFFLINE", "").lower() in {"1", "true", "t", "yes", "y", "on"}


@functools.cache  # A repository is asked for in parts; a hub that is away stays away for a run.
def _unreachable(name: str) -> str:
    """Why the hub does not answer a question about a repository; '' where it does."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or 5)
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            HfApi().repo_info(name, timeout=seconds)
        except (HfHubHTTPError, HFValidationError):
            answers.put("")  # It is there, and says no.
        except Exception as error:  # As above.
            answers.put(f"the hub cannot be reached ({_line(error)})")
        else:
            answers.put("")

    # The timeout is that of one address, and a name may have a dozen.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"the hub has not answered in {seconds:g} seconds"


def _line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
