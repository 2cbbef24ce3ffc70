"""Repositories of the Hugging Face hub: fetched, or found in its cache, where commits lie apart."""

from __future__ import annotations

import functools
import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path


class HubError(Exception):
    """A repository cannot be had; the one-line message says why."""


class AbsentError(HubError):
    """The hub does not give the repository, or not to us, whose name is one."""


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
        AbsentError: there is no such repository, or it cannot be had.
        HubError: it is no name of one, or the seconds are none.
    """
    _patience()  # First: the library itself takes no other values, and says so at length.
    import huggingface_hub

    if not is_repository(name):
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
        reason = f"not in the hub's cache on this machine, and {why}" if why else _line(error)
        raise AbsentError(
            f"{name}: there is no such place, and the repository cannot be had ({reason})"
        ) from error


_DATA = re.compile(r"hf:(?P<repo>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<split>.+))?")
DATA_PREFIX = "hf:"
"""What places of data on the hub begin with."""


def data_files(place: str, split: str, *, local: bool) -> list[str]:
    """Give the Parquet files of a data set's split, found as `datasets` finds them.

    Rows of such files are read where they lie, by number; its own streams start at their first
    row alone, and would have to be read up to where a run goes on.

    Args:
        place: ``hf:REPO[:CONFIG][@SPLIT]``; a repository may be a local folder.
        split: taken where ``place`` names none, unless there is but one.
        local: download the files to the hub's cache; else they are named where they lie.

    Raises:
        HubError: it cannot be reached, has no such split, or is not in Parquet.
    """
    found = _DATA.fullmatch(place)
    if found is None:
        raise HubError(f"{place}: write hf:REPO, hf:REPO:CONFIG or hf:REPO:CONFIG@SPLIT")
    repository = found["repo"]
    if not Path(repository).is_dir() and os.environ.get("HF_HUB_OFFLINE", "0") in {"", "0"}:
        if not is_repository(repository):
            raise HubError(f"{place}: {repository} is no OWNER/NAME of a repository, nor a folder")
        why = "UWT_EVAL_OFFLINE is set" if _offline() else _unreachable(repository, "dataset")
        if why:
            raise HubError(
                f"{place}: {why}; HF_HUB_OFFLINE=1 looks in the hub's cache, and the path of a "
                "copy needs no hub"
            )
    import datasets

    # Of every try to reach the hub, a warning.
    logging.disable(logging.WARNING)
    try:
        builder = datasets.load_dataset_builder(repository, found["config"])
        splits = {str(name): files for name, files in (builder.config.data_files or {}).items()}
        name = found["split"] or (next(iter(splits)) if len(splits) == 1 else split)
        if builder.name != "parquet":
            raise HubError(
                f"{place}: is kept as {builder.name or 'something else'}, and read from Parquet "
                f"alone; download it and give its path"
            )
        if name not in splits:
            raise HubError(f"{place}: has no split {name!r}, but {', '.join(splits)}")
        files = list(splits[name])
        return datasets.DownloadManager().download(files) if local else files
    except HubError:
        raise
    except Exception as error:
        # The hub's client, the builders and the network each have errors of their own.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise HubError(f"{place}: cannot be opened ({reason})") from error
    finally:
        logging.disable(logging.NOTSET)


def is_repository(name: str) -> bool:
    """Tell whether the hub could have a repository of this name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if name.startswith((".", "/", "~")):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _patience() -> int:
    """Seconds in which the hub has to answer; raise `HubError` where they cannot be told."""
    given = os.environ.get("HF_HUB_ETAG_TIMEOUT") or "5"
    if not re.fullmatch(r"[1-9][0-9]{0,5}", given):
        raise HubError(f"HF_HUB_ETAG_TIMEOUT={given}: takes whole seconds from 1, such as 5")
    return int(given)


def _offline() -> bool:
    """Read the variable as the harness's settings do, which see to what is none of these."""
    return os.environ.get("UWT_EVAL_OFFLINE", "").lower() in {"1", "true", "t", "yes", "y", "on"}


@functools.cache  # A repository is asked for in parts; a hub that is away stays away for a run.
def _unreachable(name: str, kind: str = "model") -> str:
    """Why the hub does not answer a question about a repository; '' where it does."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    seconds = _patience()

    def ask() -> str:
        try:
            HfApi().repo_info(name, repo_type=kind, timeout=seconds)
        except HfHubHTTPError:
            return ""  # It is there, and says no.
        except Exception as error:  # As above.
            return f"the hub cannot be reached ({_line(error)})"
        return ""

    return answer_within(seconds, ask, f"the hub has not answered in {seconds} seconds")


def answer_within(seconds: float, ask: Callable[[], str], silence: str) -> str:
    """Give what asking a server gives, or `silence` where that takes longer.

    The time-outs of the libraries are of one address, where a name may have a dozen, and do not
    count the look-up of the name.
    """
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(ask()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return silence


def _line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
