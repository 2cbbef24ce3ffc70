"""The viewer in headless Chromium, from disk and from loopback: `nox -s browser`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.viewer.serve import server
from tests.conftest import CommandLine
from tests.reports.runs import write_run
from tests.reports.viewer.judged import NASTY, write_judged

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(uwt_eval: CommandLine, tmp_path: Path) -> Path:
    """A viewer of two tokenizers on four photos, with pictures of two, and a judged benchmark."""
    runs = tmp_path / "runs"
    ids = ["a", "b'\"</script>", "straße", "d"]
    write_run(runs, "alpha", columns={"psnr": [20, 25, 22, 23]}, pictures=(0, 2), ids=ids)
    write_run(runs, "beta", columns={"psnr": [30, 18, 24, 21]}, pictures=(0, 2), ids=ids)
    write_judged(runs)
    assert uwt_eval("view", runs, "--out", tmp_path / "viewer").code == 0
    return tmp_path / "viewer"


def shown(page: Any) -> list[str]:
    return [text.strip() for text in page.get_by_role("rowheader").all_inner_texts()]


def open_group(page: Any, address: str, name: str) -> None:
    page.goto(address)
    field = page.locator("#group")
    option = field.locator("option").filter(has_text=name)
    option.wait_for(state="attached")
    field.select_option(option.get_attribute("value"))
    page.wait_for_function("order.length > 0 && document.querySelector('#runs article')")


def test_worst_first(page: Any, folder: Path) -> None:
    open_group(page, (folder / "index.html").as_uri(), "imagenet-recon")
    assert shown(page) == ["b'\"</script>", "a", "d", "straße"]
    page.locator("#of").select_option(label="alpha")
    assert shown(page) == ["a", "straße", "d", "b'\"</script>"]
    page.locator("#order").select_option("best")
    assert shown(page)[0] == "b'\"</script>"
    page.locator("#order").select_option("worst")
    page.locator("#of").select_option(label="difference between runs")
    assert shown(page)[0] == "a"
    page.locator("#metric").select_option(label="order of the task")
    page.wait_for_function("order[3] === 3")
    assert shown(page) == ["a", "b'\"</script>", "straße", "d"]


def test_keyboard(page: Any, folder: Path) -> None:
    open_group(page, (folder / "index.html").as_uri(), "imagenet-recon")
    page.get_by_label("with pictures only").focus()
    page.keyboard.press("Tab")
    grid = page.get_by_role("grid")
    assert grid.evaluate("grid => grid === document.activeElement")
    assert grid.evaluate("grid => getComputedStyle(grid).outlineStyle") != "none"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.get_by_role("heading", name="d", exact=True).wait_for()
    chosen = page.locator(f"#{grid.get_attribute('aria-activedescendant')}")
    assert chosen.get_attribute("aria-selected") == "true"
    assert "d" in chosen.inner_text()
    page.keyboard.press("ArrowUp")
    page.get_by_role("heading", name="a", exact=True).wait_for()
    page.keyboard.press("End")
    page.get_by_role("heading", name="straße").wait_for()
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("heading", name="d", exact=True).wait_for()


def test_two_pictures(page: Any, folder: Path) -> None:
    open_group(page, (folder / "index.html").as_uri(), "imagenet-recon")
    page.get_by_label("with pictures only").check()
    assert shown(page) == ["a", "straße"]
    right = page.locator("#over")
    assert right.get_attribute("alt") == "beta, a"
    slider = page.get_by_label("Divider")
    slider.focus()
    before = right.evaluate("image => image.style.clipPath")
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "51"
    assert right.evaluate("image => image.style.clipPath") != before
    box = page.locator("#pair").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 9)
    page.mouse.up()
    assert slider.input_value() == "25"
    page.get_by_label("Zoom").select_option("4")
    assert page.locator("#under").bounding_box()["width"] == 4 * 64
    page.get_by_label("difference", exact=True).check()
    assert right.evaluate("image => getComputedStyle(image).mixBlendMode") == "difference"
    page.get_by_role("button", name="alpha, a").click()
    assert page.locator("#right").input_value() == "alpha"
    there = "all => all.every(image => image.naturalWidth === 64)"
    assert page.locator("#pictures img").evaluate_all(there)


def test_search(page: Any, folder: Path) -> None:
    open_group(page, (folder / "index.html").as_uri(), "imagenet-recon")
    page.locator("#search").fill("SCRIPT")
    assert shown(page) == ["b'\"</script>"]
    assert page.get_by_role("status").inner_text() == "1 of 4 samples"
    page.locator("#search").fill("nothing like it")
    assert shown(page) == []
    assert page.get_by_role("heading", name="No sample has such an id").is_visible()


def test_prompts_verdicts_and_words(page: Any, folder: Path) -> None:
    open_group(page, (folder / "index.html").as_uri(), "geneval")
    assert page.get_by_role("heading", level=3).inner_text() == "painter"
    text = page.locator("#sample").inner_text()
    assert NASTY in text
    assert "wrong: one clock" in text
    assert "picture missing" in text
    assert page.title() == "Runs"
    assert page.locator("#sample b", has_text="x").count() == 0


def test_narrow_and_dark(page: Any, folder: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    page.emulate_media(color_scheme="dark")
    open_group(page, (folder / "index.html").as_uri(), "imagenet-recon")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "light dark"


def test_every_field_has_a_name(page: Any, folder: Path) -> None:
    open_group(page, (folder / "index.html").as_uri(), "imagenet-recon")
    nameless = "all => all.filter(f => !f.labels.length && !f.textContent && !f.title).length"
    assert page.locator("input, select, button").evaluate_all(nameless) == 0
    without = "all => all.filter(i => i.checkVisibility() && !i.alt).length"
    assert page.locator("img").evaluate_all(without) == 0


def test_served(page: Any, folder: Path) -> None:
    with server(folder, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        try:
            open_group(page, f"http://127.0.0.1:{serving.server_port}/", "imagenet-recon")
            assert len(shown(page)) == 4
            page.goto("about:blank")
        finally:
            serving.shutdown()


def test_fifty_thousand_samples(uwt_eval: CommandLine, page: Any, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    for model in ("alpha", "beta"):
        columns = {"psnr": numbers.normal(25, 3, 50_000).tolist()}
        write_run(tmp_path / "runs", model, columns=columns, intervals=False)
    assert uwt_eval("view", tmp_path / "runs", "--out", tmp_path / "viewer").code == 0
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")
    open_group(page, (tmp_path / "viewer" / "index.html").as_uri(), "imagenet-recon")
    assert page.get_by_role("grid").get_attribute("aria-rowcount") == "50001"
    assert page.get_by_role("row").count() < 100
    page.get_by_role("grid").focus()
    page.keyboard.press("End")
    page.locator("#order").select_option("best")
    page.locator("#search").fill("photo-49999")
    assert shown(page) == ["photo-49999"]
    found = {
        each["name"]: each["value"] for each in client.send("Performance.getMetrics")["metrics"]
    }
    assert found["ScriptDuration"] < 3  # Seconds of the page's script, whatever the machine waits.
