"""GenEval from model to record through the command line, with tiny networks or none."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from harness.interfaces.registry import MODELS
from tasks.geneval.prompts import OBJECTS
from tests.conftest import CommandLine
from tests.tasks.painter import Painter


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Offers the models `painter` and `shy-painter`; the prompts that they painted."""
    painted: list[str] = []
    models = {
        **MODELS._registered,
        "painter": functools.partial(Painter, painted),
        "shy-painter": functools.partial(Painter, painted, "kite"),
    }
    monkeypatch.setattr(MODELS, "_registered", models)
    return painted


def run(uwt_eval: CommandLine, out: Path, *more: object) -> tuple[dict[str, Any], Path, str]:
    result = uwt_eval("run", "geneval", "--device", "cpu", "--out", out, "--json", *more)
    assert result.code in {0, 3}, result.err
    (record,) = result.records
    return record, out / record["run_id"], result.err


def test_pictures_in_the_official_layout_without_weights(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str]
) -> None:
    record, root, err = run(uwt_eval, tmp_path, "--model", "painter", "--limit", 8)
    assert len(painted) == 8
    assert len(set(painted)) == 2
    assert "not GenEval's 553" in err.replace("\n", " ")
    assert "assets fetch geneval-prompts" in err.replace("\n", " ")
    assert all(cell["value"] is None for cell in record["metrics"].values())
    assert "runs in an environment of its own" in record["metrics"]["geneval_overall"]["status"]
    pictures = sorted(p.relative_to(root).as_posix() for p in root.glob("images/*/samples/*"))
    assert pictures == [
        f"images/{p}/samples/{n:04d}.png" for p in ("00000", "00011") for n in range(4)
    ]
    metadata = json.loads((root / "images/00011/metadata.jsonl").read_text())
    assert metadata["prompt"] == "a photo of a white car and a red bench"
    with Image.open(root / pictures[0]) as image:
        assert (image.size, image.getpixel((9, 9))) == ((32, 32), (255, 255, 255))
    assert "<h1>painter · GenEval: " in (root / "gallery.html").read_text(encoding="utf-8")
    # Nothing is painted again, and another number of pictures starts with the same.
    run(uwt_eval, tmp_path, "--model", "painter", "--limit", 8)
    assert len(painted) == 8


def test_tiny_networks_judge_and_hand_over(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], tiny_protocol: Path
) -> None:
    record, root, _ = run(uwt_eval, tmp_path, "--model", "painter", "--protocol", tiny_protocol)
    assert record["n"] == 12
    cells = record["metrics"]
    assert all(cell["status"] == "ok" for cell in cells.values())
    tasks = [cell["value"] for name, cell in cells.items() if name != "geneval_overall"]
    assert cells["geneval_overall"]["value"] == pytest.approx(sum(tasks) / 6)
    rows = pd.read_parquet(root / "samples.parquet").set_index("id")
    counting = rows[rows["tag"] == "counting"]
    wrong = counting[counting["correct"] == 0]
    assert wrong["reason"].str.match(r"expected (cup|bird)").all()
    lines = [json.loads(text) for text in (root / "detections.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert {each["class"] for line in lines for each in line["detections"]} <= set(OBJECTS)
    # The written detections, scored alone, give every number again.
    again = uwt_eval(
        "score", "geneval", "--observations", root / "detections.jsonl",
        "--protocol", tiny_protocol, "--out", tmp_path / "again", "--json",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert again.records[0]["metrics"] == cells


def test_folder_of_pictures_made_elsewhere(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], tiny_protocol: Path
) -> None:
    more = ("--protocol", tiny_protocol, "--limit", 4)
    _, root, _ = run(uwt_eval, tmp_path, "--model", "painter", *more)
    images = root / "images"
    (images / "00000/samples/0000.png").rename(images / "00000/samples/00000.png")
    (images / "00007/samples/0000.png").unlink()
    (images / "00011/samples/0000.png").write_bytes(b"no picture")
    found, other, _ = run(uwt_eval, tmp_path, "--images", images, *more, "--max-failures", 2)
    assert found["failures"] == {"decode_error": 1, "missing": 1}
    before, after = (
        pd.read_parquet(each / "samples.parquet").set_index("id") for each in (root, other)
    )
    for sample in ("00000/0000", "00004/0000"):
        assert before.loc[sample, "detections"] == after.loc[sample, "detections"]
    assert after.loc["00007/0000", "error"].startswith("no image 00007/samples/0000.png")
    (images / "00004/samples/0001.png").write_bytes(
        (images / "00004/samples/0000.png").read_bytes()
    )
    words = ("run", "geneval", "--images", images, *more, "--device", "cpu", "--out", tmp_path)
    many = uwt_eval(*words)
    assert many.code == 2
    assert "prompt 00004 has more pictures than the protocol's 1" in many.err.replace("\n", " ")


def test_a_folder_in_another_layout_is_refused_before_a_run_is_made(
    uwt_eval: CommandLine, tmp_path: Path, tiny_protocol: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32)).save(flat / f"{number}.png")
    words = ("--protocol", tiny_protocol, "--device", "cpu", "--out", tmp_path / "runs")
    result = uwt_eval("run", "geneval", "--images", flat, *words)
    assert result.code == 2
    assert "none of 3 images, the first of them '0.png'" in result.err
    assert "'00000/samples/0000.png'" in result.err
    assert not (tmp_path / "runs").exists()


def test_a_model_that_fails_on_a_prompt(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], tiny_protocol: Path
) -> None:
    record, root, _ = run(
        uwt_eval, tmp_path, "--model", "shy-painter", "--protocol", tiny_protocol,
        "--max-failures", 1,
    )  # fmt: skip
    assert record["failures"] == {"model_error": 1}
    assert record["metrics"]["colors"]["n"] == 1
    assert record["metrics"]["geneval_overall"]["ci_low"] is None, "one prompt has no interval"
    assert "no paint left" in (root / "gallery.html").read_text()


def test_a_prompt_that_would_break_the_page(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str]
) -> None:
    prompt = "<script>alert(1)</script> | **bold** `x`"
    line = {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": prompt}
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(line) + "\n")
    record, root, err = run(uwt_eval, tmp_path, "--model", "painter", "--data", path)
    assert record["dataset"] == "mine.jsonl"
    assert "1 prompt, GenEval has 553" in err.replace("\n", " ")
    assert "<script>alert" not in (root / "gallery.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "webp"), "geneval needs one that draws images of texts"),
        (("--model", "painter", "--data", "nowhere.jsonl"), "there is no such file"),
        (("--model", "painter", "--protocol", "clip"), "says nothing about 'geneval' tasks"),
        (("--images", "nowhere"), "there is no such folder"),
    ],
)
def test_bad_commands(
    words: tuple[str, ...], message: str, uwt_eval: CommandLine, tmp_path: Path, painted: list[str]
) -> None:
    result = uwt_eval("run", "geneval", *words, "--device", "cpu", "--out", tmp_path)
    assert result.code == 2
    assert message in result.err.replace("\n", " ")


@pytest.mark.slow
def test_shards_have_all_pictures_and_judgements_of_the_run(
    uwt_eval: CommandLine, tmp_path: Path, painted: list[str], tiny_protocol: Path
) -> None:
    given = ("--model", "painter", "--protocol", tiny_protocol)
    whole, root, _ = run(uwt_eval, tmp_path / "whole", *given)
    parts = []
    for number in ("1", "2"):
        command = ("run", "geneval", "--device", "cpu", "--quiet", *given)
        part = uwt_eval(*command, "--shard", f"{number}/2", "--out", tmp_path / number)
        assert part.code == 0, part.err
        parts.append(tmp_path / number / whole["run_id"])
    (merged,) = uwt_eval("merge", *parts, "--out", tmp_path / "merged", "--json").records
    assert merged["metrics"] == whole["metrics"]

    def files(place: Path) -> dict[str, bytes]:
        found = [*place.rglob("images/**/*"), place / "gallery.html", place / "grid.png"]
        return {str(p.relative_to(place)): p.read_bytes() for p in found if p.is_file()}

    assert files(tmp_path / "merged" / whole["run_id"]) == files(root)
