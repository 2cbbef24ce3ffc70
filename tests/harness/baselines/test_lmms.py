"""Models of lmms-eval's registry, by a tiny LLaVA behind its generic class."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from harness.baselines.hf_vlm import TransformersVLM
from harness.baselines.lmms import LmmsModel
from harness.interfaces import Question
from harness.interfaces.errors import SampleFailure, UserError
from tests.harness.baselines.suite import answered
from tests.harness.baselines.test_hf_vlm import picture, save
from tests.harness.judges.endpoint import Endpoint, serving

pytest.importorskip("lmms_eval")

QUESTIONS = [Question("what is this", [picture(0)]), Question("is this a cat", [picture(1)])]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("lmms") / "tiny-llava")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with serving(Endpoint(lambda text, images: f"{text} {len(images)}\n\nmore")) as endpoint:
        yield endpoint


def test_the_simple_form_gives_the_replies_of_its_model(saved: Path) -> None:
    model = LmmsModel("uwt", model=f"hf-vlm:{saved}?dtype=float32")
    model.load("cpu")
    own = TransformersVLM(str(saved), dtype="float32")
    own.load("cpu")
    found = model.reply(QUESTIONS, max_new_tokens=5)
    assert found == own.reply(QUESTIONS, max_new_tokens=5)
    assert all(found)


def through(endpoint: Endpoint) -> LmmsModel:
    model = LmmsModel("openai", model_version="tiny", base_url=endpoint.url, max_retries="1")
    model.load("cpu")
    return model


def test_the_chat_form_shows_text_and_pictures(endpoint: Endpoint) -> None:
    model = through(endpoint)
    assert model.reply(QUESTIONS, max_new_tokens=5, stop=["\n\n"]) == [
        "what is this 1",
        "is this a cat 1",
    ]


def test_an_error_that_it_hides_is_a_failure(endpoint: Endpoint) -> None:
    model = through(endpoint)
    endpoint.fault = lambda number: "400"
    with pytest.raises(SampleFailure, match="image too large"):
        model.reply(QUESTIONS, max_new_tokens=5)


def test_identity(saved: Path) -> None:
    card = LmmsModel("huggingface", str(saved)).card
    assert card.label == "lmms huggingface tiny-llava"
    assert card.weights_sha256
    makes: list[Callable[[], LmmsModel]] = [
        lambda: LmmsModel("huggingface", str(saved), system_prompt="be short"),
        lambda: LmmsModel("huggingface", str(saved), simple=True),
        lambda: LmmsModel("instructblip", str(saved)),
    ]
    assert len({card.digest, *(make().card.digest for make in makes)}) == 4


def test_what_cannot_be_is_one_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lmms-eval has no model 'huggingfac'.*huggingface"):
        _ = LmmsModel("huggingfac").card
    with pytest.raises(UserError, match="cannot be loaded"):
        LmmsModel("huggingface", str(saved), device_map="cpu", nonsense="1").load("cpu")
    config: dict[str, Any] = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')")
    (tmp_path / "model.safetensors").write_bytes(b"")
    model = LmmsModel("huggingface", str(tmp_path), device_map="cpu")
    with pytest.raises(UserError, match=r"code from its repository|trust_remote_code|cannot be"):
        model.load("cpu")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "damaged")
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name in sorted(weights) if "layernorm" in name)
    weights[name].flatten()[0] = float("nan")
    save_file(weights, file)
    with pytest.raises(UserError, match=r"huggingface': model: weight .* is not finite"):
        LmmsModel("huggingface", str(folder), device_map="cpu").load("cpu")


@pytest.mark.slow
def test_a_suite_is_answered(saved: Path, tmp_path: Path) -> None:
    record = answered(f"lmms:uwt?model=hf-vlm:{saved}", tmp_path)
    assert record["status"] == "complete"
    assert record["model"].startswith("lmms uwt")
