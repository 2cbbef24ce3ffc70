"""The protocol tables of the documents are made from the protocol files."""

from __future__ import annotations

from tests.tasks.shared.protocol_table import DOCUMENT, updated


def test_document_holds_the_present_tables() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == updated(document), "run python -m tests.tasks.shared.protocol_table"
