"""Served models, against an endpoint on this machine that fails as real ones do."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.baselines.endpoints import ServedChat, ServedPictures
from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure, UserError
from tests.conftest import CommandLine
from tests.harness.baselines.suite import answered
from tests.harness.judges.endpoint import Endpoint, serving


def drawn(body: dict[str, Any]) -> bytes:
    """A picture whose colour is the seed's, or that of the image to edit."""
    colour = (int(body.get("seed", 7)) % 256, 20, 200)
    if "image" in body:
        with Image.open(io.BytesIO(bytes.fromhex(body["image"]))) as image:
            colour = tuple(255 - level for level in image.getpixel((0, 0)))  # type: ignore[union-attr]
    width, _, height = str(body.get("size", "24x16")).partition("x")
    file = io.BytesIO()
    Image.new("RGB", (int(width), int(height)), colour).save(file, "webp", lossless=True)
    return file.getvalue()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("UWT_EVAL_MODEL_KEY", "any")
    endpoint = Endpoint(lambda text, images: f"yes, {len(images)}. {text[-8:]}\n\nand more")
    endpoint.draw = drawn
    with serving(endpoint):
        yield endpoint


def picture(level: int) -> np.ndarray:
    return np.full((20, 30, 3), level, np.uint8)


def test_questions_are_asked_at_once_and_once(endpoint: Endpoint) -> None:
    questions = [Question(f"is it {n:03d}", [picture(n)] * (n % 3)) for n in range(20)]
    four = threading.Barrier(4, timeout=60)
    endpoint.before = lambda number: four.wait()  # type: ignore[assignment,return-value]
    replies = []
    for _ in range(2):
        model = ServedChat(f"tiny@{endpoint.url}", concurrency=4, body={"top_k": 1})
        model.load("cpu")
        replies.append(model.reply(questions, max_new_tokens=9, stop=["\n\n"]))
    assert replies[0] == replies[1]
    assert replies[0][4] == "yes, 1. s it 004"
    assert len(endpoint.bodies) == 20
    assert endpoint.most_at_once == 4
    body = endpoint.bodies[0]
    assert (body["max_tokens"], body["temperature"], body["top_k"]) == (9, 0.0, 1)
    urls = [p["image_url"]["url"] for p in endpoint.bodies[5]["messages"][0]["content"][1:]]
    assert all(url.startswith("data:image/png;base64,") for url in urls)


def test_what_fails_for_good_is_that_question_alone(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "400" if number == 1 else ""
    model = ServedChat(f"tiny@{endpoint.url}", concurrency=1)
    with pytest.raises(SampleFailure, match="image too large"):
        model.reply([Question("a"), Question("b"), Question("c")], max_new_tokens=5)
    endpoint.fault = lambda number: ""
    assert len(model.reply([Question("a"), Question("c")], max_new_tokens=5)) == 2
    assert len(endpoint.bodies) == 3


def test_identity_is_place_name_and_request(endpoint: Endpoint) -> None:
    card = ServedChat(f"org/model-7b@{endpoint.url}").card
    assert card.title.startswith("org/model-7b served by 127.0.0.1")
    others = [
        ServedChat(f"org/model-8b@{endpoint.url}"),
        ServedChat("org/model-7b@http://other:1/v1"),
        ServedChat(f"org/model-7b@{endpoint.url}", temperature=None),
        ServedChat(f"org/model-7b@{endpoint.url}", body={"top_k": 1}),
    ]
    assert len({card.digest, *(other.card.digest for other in others)}) == 5
    assert ServedChat(f"org/model-7b@{endpoint.url}", concurrency=99).card.digest == card.digest


def test_pictures_are_drawn_by_their_seeds(endpoint: Endpoint) -> None:
    model = ServedPictures(f"painter@{endpoint.url}", size="40x24", body={"steps": 9})
    model.load("cpu")
    codes = model.generate(["a bench", "two cups"], [3, 4])
    levels = ((model.decode(codes, [0, 0]) + 1) * 127.5).round()
    assert levels.shape == (2, 3, 24, 40)
    assert levels[:, 0, 0, 0].tolist() == [3, 4]
    body = endpoint.bodies[0]
    assert (body["size"], body["steps"], body["n"]) == ("40x24", 9, 1)
    model.generate(["a bench"], [3])
    assert len(endpoint.bodies) == 2


def test_images_are_edited(endpoint: Endpoint) -> None:
    model = ServedPictures(f"painter@{endpoint.url}", seeds=False)
    codes = model.edit(["invert it", "invert"], [picture(10), picture(200)], [1, 2])
    levels = ((model.decode(codes, [0, 0]) + 1) * 127.5).round()
    assert levels[:, 0, 0, 0].tolist() == [245, 55]
    assert "seed" not in endpoint.bodies[0]


def test_a_picture_that_is_none_fails_that_sample(endpoint: Endpoint) -> None:
    endpoint.draw = lambda body: b"no picture"
    model = ServedPictures(f"painter@{endpoint.url}")
    with pytest.raises(SampleFailure, match="picture cannot be read"):
        model.generate(["a bench"], [3])


@pytest.mark.parametrize("fault", ["401", "404", "quota"])
def test_hopeless_endpoints_end_the_run_in_one_line(endpoint: Endpoint, fault: str) -> None:
    endpoint.fault = lambda number: fault if number >= 0 else ""
    model = ServedPictures(f"painter@{endpoint.url}")
    with pytest.raises(UserError, match="model endpoint http") as error:
        model.generate(["a bench"], [3])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["nowhere", "ftp://host/v1", "http://u:secret@host/v1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UserError, match="model's address") as error:
        _ = ServedChat(f"tiny@{address}").card
    assert "secret" not in str(error.value)


def test_without_a_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UWT_EVAL_MODEL_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="set UWT_EVAL_MODEL_KEY or OPENAI_API_KEY"):
        ServedChat(f"tiny@{endpoint.url}").load("cpu")


def test_geneval_is_drawn(uwt_eval: CommandLine, tmp_path: Path, endpoint: Endpoint) -> None:
    command = ("run", "geneval", "--model", f"openai-images:painter@{endpoint.url}", "--limit", 8)
    result = uwt_eval(*command, "--device", "cpu", "--out", tmp_path, "--json")
    assert result.code in {0, 3}, result.err
    (record,) = result.records
    assert record["n"] == 8
    assert len(list((tmp_path / record["run_id"]).glob("images/*/samples/*.png"))) == 8
    assert len(endpoint.bodies) == 8


@pytest.mark.slow
def test_a_suite_is_answered(endpoint: Endpoint, tmp_path: Path) -> None:
    pytest.importorskip("lmms_eval")
    record = answered(f"openai-chat:tiny@{endpoint.url}", tmp_path)
    assert record["status"] == "complete"
