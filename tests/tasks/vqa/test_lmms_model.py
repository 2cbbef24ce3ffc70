"""Our models behind lmms-eval's interface, in lmms-eval's own evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.interfaces.errors import UserError
from harness.interfaces.types import Status

pytest.importorskip("lmms_eval")

TOY = Path(__file__).parent / "toy_chat.py"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from harness.interfaces import registry
    from tasks.vqa.lmms_model import HarnessModel

    monkeypatch.setattr(registry.MODELS, "_registered", dict(registry.MODELS._registered))
    monkeypatch.setattr(registry, "_LOADED", [])
    table = tmp_path / "replies.json"
    table.write_text(json.dumps({"cat": "yes\n\nand no", "dog": None, "bus": "<raise>"}))
    return HarnessModel(f"toy-chat:{table}", str(TOY), "cpu", batch_size=2)


def request(model: Any, place: int, text: str, picture: Any, **arguments: Any) -> Any:
    from lmms_eval.api.instance import Instance

    model.task_dict.setdefault("t", {}).setdefault("s", {})[place] = picture
    return Instance(
        request_type="generate_until",
        arguments=(text, arguments, lambda row: [row], place, "t", "s"),
        idx=0,
        metadata={"task": "t", "doc_id": place, "repeats": 1},
    )


def test_replies_failures_and_stops(model: Any) -> None:
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    requests = [
        request(model, place, text, grey if text != "broken" else object(), until=["\n\n"])
        for place, text in enumerate(["cat", "dog", "tree", "bus", "broken"])
    ]
    assert model.generate_until(requests) == ["yes", "", "yes", "", ""]
    assert [model.answered[place].status for place in range(5)] == [
        Status.OK,
        Status.MODEL_ERROR,
        Status.OK,
        Status.MODEL_ERROR,
        Status.DECODE_ERROR,
    ]


def test_each_process_of_lmms_eval_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tasks.vqa.lmms_model import _device

    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _device(None) == _device("cuda") == "cuda:3"
    assert _device("cuda:1") == "cuda:1"


def test_processes_count_their_questions_where_they_can(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import distributed

    assert model.device.type == "cpu"
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    for backend, kind in {"gloo": "cpu", "nccl": "cuda"}.items():
        monkeypatch.setattr(distributed, "get_backend", lambda backend=backend: backend)
        assert model.device.type == kind


def test_tasks_that_sample_are_refused(model: Any) -> None:
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    for arguments in ({"do_sample": True}, {"temperature": 0.7}):
        with pytest.raises(UserError, match="greedily only"):
            model.generate_until([request(model, 0, "cat", grey, **arguments)])
    greedy = {"do_sample": False, "temperature": 0, "max_new_tokens": 16}
    assert model.generate_until([request(model, 0, "tree", grey, **greedy)]) == ["yes"]


def test_likelihoods_and_turns_are_refused(model: Any) -> None:
    for ask in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(UserError):
            ask([])


def test_lmms_eval_finds_the_models() -> None:
    from lmms_eval.models import MODEL_REGISTRY_V2

    from tasks.vqa.lmms_model import HarnessModel, UniWeTokChat

    assert MODEL_REGISTRY_V2.get_model_class("uwt") is HarnessModel
    assert MODEL_REGISTRY_V2.get_model_class("uniwetok_chat") is UniWeTokChat


def test_wrong_arguments() -> None:
    from tasks.vqa.lmms_model import HarnessModel, UniWeTokChat

    with pytest.raises(UserError, match="pretrained=PATH"):
        UniWeTokChat()
    with pytest.raises(UserError, match="model=NAME:PATH"):
        HarnessModel()
    with pytest.raises(UserError, match="unknown colour"):
        HarnessModel("webp", colour="red")
    with pytest.raises(UserError, match="lmms-eval needs one that answers questions"):
        HarnessModel("webp", device="cpu")


def test_vectors_scorers_agree_with_what_is_installed() -> None:
    """Replies of many forms, through lmms-eval's own functions and ours."""
    import random

    from lmms_eval.tasks.mmmu import utils as mmmu_utils
    from lmms_eval.tasks.realworldqa import utils as realworldqa_utils
    from lmms_eval.tasks.textvqa import utils as textvqa_utils

    from tasks.vqa.scorers.choices import realworldqa
    from tasks.vqa.scorers.consensus import textvqa
    from tasks.vqa.scorers.mmmu import candidates

    words = "A B (B) B. C: D) The answer is correct choice I pick yes 5 1,000 -3 1.5e3 = so don't"
    words += " dont it's two an ten black-and-white U.S.A. 3.14 ? , ; \n x inf 100% $5 答案是"
    rng = random.Random(0)
    for _ in range(500):
        picked = rng.choices(words.split(" "), k=rng.randint(0, 7))
        reply = rng.choice([" ", ""]).join(picked).strip()
        theirs = realworldqa_utils.realworldqa_process_results({"answer": "B"}, [reply])
        assert realworldqa({"answer": "B"}, reply).score == theirs["exact_match"], reply
        assert set(map(str, candidates(reply))) == set(
            map(str, mmmu_utils.parse_open_response(reply))
        ), reply
        people = [*rng.choices(words.split(" "), k=6), *[reply] * 3, "two"]
        seen = SimpleNamespace(answers=list(people))
        scored = textvqa_utils.textvqa_process_results(
            {"answers": seen.answers, "question_id": 1}, [reply]
        )
        assert textvqa({"answers": people}, reply).score == scored["exact_match"], reply
