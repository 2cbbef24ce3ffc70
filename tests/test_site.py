"""The documents as a site: built strictly, with what is generated and a search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_it_is_built_strictly(tmp_path: Path) -> None:
    """A link to nowhere, a document in no menu, or an unknown name stops it."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.name for path in (tmp_path / "site").glob("*.html")}
    documents = {f"{path.stem}.html" for path in (REPOSITORY / "docs").glob("*.md")}
    assert documents | {"index.html", "benchmarks.html", "contributing.html"} <= pages
    found = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text())
    texts: dict[str, str] = {}
    for each in found["docs"]:
        page = each["location"].partition("#")[0]
        texts[page] = texts.get(page, "") + each["title"] + each["text"]
    assert "--batch-size" in texts["cli.html"]
    assert "Evaluate models on a task" in texts["api.html"]
    assert "Original, AVIF, JPEG, uniwetok-nano and WebP" in texts["gallery.html"]
