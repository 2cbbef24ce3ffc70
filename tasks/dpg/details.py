"""Answers as the published script keeps them: `*_detail.txt`, a line an answer.

```
results/12.png, (0, 0, 512, 512), Is there a cat?, yes
```

The box is the grid's quarter. Which proposition was asked is told by its text alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from harness.interfaces.errors import UserError
from tasks.dpg.questions import Item

_LINE = re.compile(
    r"(?P<image>.*?), \((?P<left>\d+), (?P<top>\d+), \d+, \d+\), (?P<said>.*)", re.DOTALL
)


def is_detail(path: Path) -> bool:
    """Whether a file of answers is the published script's."""
    return path.suffix == ".txt"


def read_details(path: Path, items: Sequence[Item]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place and answer, as `tasks.dpg.answers` writes an answer in JSON.

    Raises:
        UserError: The file cannot be read, or a line is none of an answer to the questions.
    """
    numbers: dict[str, dict[str, list[int]]] = {item.id: defaultdict(list) for item in items}
    for item in items:
        for question in item.questions:
            numbers[item.id][question.text].append(question.number)
    seen: Counter[tuple[str, int, str]] = Counter()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from error
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {place}"
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{where}: expected IMAGE, (x0, y0, x1, y1), QUESTION, ANSWER")
        name = PurePosixPath(match["image"]).name.partition(".")[0]
        if name not in numbers:
            raise UserError(f"{where}: item {name!r} is not among the questions")
        # Both texts may hold commas: the longest question that the line begins with is meant.
        said = match["said"]
        texts = [text for text in numbers[name] if said.startswith(f"{text}, ")]
        if not texts:
            raise UserError(f"{where}: asks none of the questions about item {name!r}")
        text = max(texts, key=len)
        crop = (int(match["left"]) > 0) + 2 * (int(match["top"]) > 0)
        # The same words under several numbers are asked in the order of the numbers' rows.
        alike = numbers[name][text]
        number = alike[min(seen[name, crop, text], len(alike) - 1)]
        seen[name, crop, text] += 1
        answer = said[len(text) + 2 :]
        yield where, {"item_id": name, "crop": crop, "proposition_id": number, "answer": answer}
