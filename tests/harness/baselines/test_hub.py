"""What a repository's own card says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.baselines.hub import Source


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\ntags:\n- a\n---\n# Model\nlicense: none\n", "mit"),
        ("---\ntags: [a]\nlicense: 'apache-2.0'\n---\n", "apache-2.0"),
        ("# Model\n\nlicense: gpl\n", ""),
        ("", ""),
    ],
)
def test_licence(text: str, licence: str, tmp_path: Path) -> None:
    assert Source("owner/name", tmp_path, "abc").licence == ""
    (tmp_path / "README.md").write_text(text)
    assert Source("owner/name", tmp_path, "abc").licence == licence
