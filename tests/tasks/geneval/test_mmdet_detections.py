"""The script for the official environment, with stand-ins for mmdet and the colour model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.geneval import mmdet_detections
from tasks.geneval.colours import crop_object
from tasks.geneval.observations import read_observations
from tasks.geneval.prompts import COLOUR_TEMPLATES, COLOURS, SMALL_FILE, read_prompts
from tasks.geneval.settings import GenEvalSettings
from tasks.geneval.task import GENEVAL

NAMES = ("car", "mouse")
BOX = (2.0, 3.0, 9.0, 8.0)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for place, prompt in ((1, 1), (11, 11)):
        samples = folder / f"{place:05d}" / "samples"
        samples.mkdir(parents=True)
        record = read_prompts(SMALL_FILE)[prompt].record
        (samples.parent / "metadata.jsonl").write_text(json.dumps(record) + "\n")
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 255, (12, 14, 3), np.uint8)
            Image.fromarray(pixels).save(samples / f"{number:04d}.png")
        (samples / "grid.txt").touch()
    return folder


def test_lines_are_read_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((12, 14), bool)
    mask[3:8, 2:9] = True
    result = (
        [np.array([[*BOX, 0.8], [*BOX, 0.2]], np.float32), np.array([[*BOX, 0.95]], np.float32)],
        [[mask, mask], [mask]],
    )
    detected: list[str] = []

    def inference_detector(model: Any, path: str) -> Any:
        detected.append(path)
        if len(detected) == 4:
            raise KeyboardInterrupt
        return result

    apis = ModuleType("mmdet.apis")
    apis.init_detector = lambda *_, **__: SimpleNamespace(CLASSES=NAMES)  # type: ignore[attr-defined]
    apis.inference_detector = inference_detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmdet", ModuleType("mmdet"))
    monkeypatch.setitem(sys.modules, "mmdet.apis", apis)
    crops: list[tuple[Any, str]] = []

    def classify(crop: Any, name: str) -> str:
        crops.append((crop, name))
        return "white"

    monkeypatch.setattr(mmdet_detections, "colour_classifier", lambda: classify)
    weights, target = tmp_path / "w.pth", tmp_path / "found.jsonl"
    weights.write_bytes(b"weights")
    words = [str(images), str(target), "--config", "c.py", "--weights", str(weights)]
    monkeypatch.setattr(sys, "argv", ["mmdet_detections", *words])
    with pytest.raises(KeyboardInterrupt):
        mmdet_detections.main()
    with target.open("a") as file:
        file.write('{"filename": "00001/sam')
    mmdet_detections.main()
    assert len(detected) == 9, "no picture is looked at again"

    digest = json.loads(target.read_text().splitlines()[0])["weights"]
    published = GenEvalSettings.of(GENEVAL.protocol("geneval").settings)
    chosen = published.detector.model_copy(update={"weights": digest[:8]})
    rows = read_observations(target, published.model_copy(update={"detector": chosen}))
    assert set(rows.statuses) == {"ok"}
    columns = rows.columns["geneval_verdicts"]
    assert columns["correct"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert columns["reason"][-1] == "expected bench>=1, found 0"
    assert [len(json.loads(text)) for text in columns["detections"]] == [2] * 8
    # Only the car's colour is asked for, of the same crop as here.
    assert [name for _, name in crops] == ["car"] * 4
    with Image.open(images / "00011/samples/0000.png") as image:
        expected = crop_object(image.convert("RGB"), BOX, mask)
    assert np.array_equal(np.asarray(crops[0][0]), np.asarray(expected))


def test_same_words_as_the_program() -> None:
    templates = [each.format("{colour}", "{name}") for each in mmdet_detections.TEMPLATES]
    assert tuple(templates) == COLOUR_TEMPLATES
    assert tuple(mmdet_detections.COLOURS) == COLOURS
    published = GenEvalSettings.of(GENEVAL.protocol("geneval").settings)
    assert published.detector.network == mmdet_detections.NETWORK
    assert published.rules.threshold == mmdet_detections.LEAST
