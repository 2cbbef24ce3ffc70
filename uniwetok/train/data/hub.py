"""Data sets on the Hugging Face Hub, or in folders laid out alike: which files hold a split."""

from __future__ import annotations

import logging
import re

from uniwetok.fields import did_you_mean
from uniwetok.train import TrainingError

_PLACE = re.compile(r"hf:(?P<repo>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<split>.+))?")


def hub_files(place: str, split: str, *, local: bool) -> list[str]:
    """Give the Parquet files of a data set's split, found as `datasets` finds them.

    Rows of such files are read where they lie, by number; its own streams start at their first
    row alone, and would have to be read up to where a run goes on.

    Args:
        place: ``hf:REPO[:CONFIG][@SPLIT]``; a repository may be a local folder.
        split: taken where ``place`` names none.
        local: download the files to the Hub's cache; else they are named where they lie.

    Raises:
        TrainingError: it cannot be reached, has no such split, or is not in Parquet.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        raise TrainingError(f"{place}: write hf:REPO, hf:REPO:CONFIG or hf:REPO:CONFIG@SPLIT")
    import datasets

    # Of every try to reach the Hub, a warning.
    logging.disable(logging.WARNING)
    try:
        builder = datasets.load_dataset_builder(found["repo"], found["config"])
        splits = {str(name): files for name, files in (builder.config.data_files or {}).items()}
        name = found["split"] or (next(iter(splits)) if len(splits) == 1 else split)
        if builder.name != "parquet":
            raise TrainingError(
                f"{place}: is kept as {builder.name or 'something else'}, and read from Parquet "
                f"alone; download it and give its path"
            )
        if name not in splits:
            raise TrainingError(f"{place}: has no split {name!r}; {did_you_mean(name, splits)}")
        files = list(splits[name])
        return datasets.DownloadManager().download(files) if local else files
    except TrainingError:
        raise
    except Exception as error:
        # The Hub's client, the builders and the network each have errors of their own.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise TrainingError(f"{place}: cannot be opened ({reason})") from error
    finally:
        logging.disable(logging.NOTSET)
