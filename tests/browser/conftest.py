"""Headless Chromium and pages in it that may fail in nothing and ask the network for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOCAL = ("file:", "data:", "http://127.0.0.1:")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """An installed Chromium, or the one that playwright brought."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that fails the test for any error and any request that leaves the machine."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    opened.on(
        "request",
        lambda request: None if request.url.startswith(LOCAL) else problems.append(request.url),
    )
    yield opened
    assert problems == []
    context.close()
