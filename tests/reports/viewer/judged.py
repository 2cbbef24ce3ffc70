"""A run of a judged benchmark with its gallery, made in no time."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tasks.gallery import Card, Shot, Verdict, write_gallery
from tests.reports.runs import write_run

NASTY = 'x</script><b>\'"&<img src=nowhere onerror="document.title=1"> 時計'


def write_judged(folder: Path) -> Path:
    """GenEval's run of `painter` with two pictures, of which one is there; the run's folder."""
    ids = ["00000/0000", "00000/0001"]
    root = write_run(folder, "painter", task="geneval", columns={"top1": [0.0, 1.0]}, ids=ids)
    paths = [root / "images" / f"{name}.png" for name in ids]
    paths[0].parent.mkdir(parents=True)
    Image.new("RGB", (32, 32), "red").save(paths[1])
    verdicts = (Verdict("wrong: one clock", False, NASTY), Verdict("right", True, group="two"))
    cards = [
        Card(name, NASTY, [Shot(path, "drawn")], verdict)
        for name, path, verdict in zip(ids, paths, verdicts, strict=True)
    ]
    write_gallery(root, "GenEval", cards)
    return root
