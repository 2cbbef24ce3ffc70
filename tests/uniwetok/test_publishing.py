"""`push_to_hub`: what would be uploaded, with the upload itself replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard

from tests.uniwetok.mllm.toys import assistant
from tests.uniwetok.train.ar.tiny import TINY_AR
from tests.uniwetok.train.tiny import TINY
from uniwetok.ar.model import BitDance
from uniwetok.mllm import Assistant
from uniwetok.tokenizer import UniWeTok


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files lie that would be on the Hub."""
    folder = tmp_path / "hub"

    def upload(self: HfApi, *, repo_id: str, folder_path: str) -> str:
        shutil.copytree(folder_path, folder / repo_id)
        return f"https://huggingface.co/{repo_id}/commit/0"

    made: list[str] = []

    def create(self: HfApi, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        made.append(repo_id)

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    return folder


def write_record(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    metrics = {
        "psnr": {"value": 21.5, "ci_low": 21.0, "ci_high": 22.0, "unit": "dB", "status": "ok"},
        "rfid": {"value": None, "ci_low": None, "ci_high": None, "unit": "", "status": "few"},
    }
    record = {
        **{"task": "imagenet-recon", "protocol": "wetok", "dataset": "my|set"},
        **{"n": 50_000, "n_failed": 0, "metrics": metrics},
    }
    (folder / "record.json").write_text(json.dumps({**record, **changes}))
    return folder


def test_the_tokenizer_is_uploaded_with_its_records(tmp_path: Path, uploaded: Path) -> None:
    model = UniWeTok(TINY.model)
    record = write_record(tmp_path / "run")
    address = model.push_to_hub("me/mine", records=[record], license="apache-2.0")
    assert address == "https://huggingface.co/me/mine/commit/0"
    again = UniWeTok.from_pretrained(uploaded / "me" / "mine")
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
    card = ModelCard.load(uploaded / "me" / "mine" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "uniwetok"
    assert card.data.model_name == "mine"
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_config) == (
        *("imagenet-recon", "my|set"),
        "wetok",
    )
    assert (result.metric_type, result.metric_value) == ("psnr", 21.5)
    row = r"| imagenet-recon | wetok | my\|set | 50000 | 0 | psnr | 21.5 dB | 21 to 22 |"
    assert row in card.text


def test_the_generator_is_uploaded_without_any(uploaded: Path) -> None:
    BitDance(TINY_AR.model).push_to_hub("me/ar")
    assert BitDance.from_checkpoint(uploaded / "me" / "ar").config == TINY_AR.model
    card = ModelCard.load(uploaded / "me" / "ar" / "README.md")
    assert not card.data.eval_results
    assert "Evaluation" not in card.text


def test_the_multimodal_model_is_uploaded_with_all_its_parts(uploaded: Path) -> None:
    model = assistant()
    model.push_to_hub("me/mllm")
    again = Assistant.from_pretrained(uploaded / "me" / "mllm", dtype=torch.float32)
    for name, weight in model.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)
    assert ModelCard.load(uploaded / "me" / "mllm" / "README.md").data.tags == [
        "uniwetok",
        "assistant",
    ]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"task": "geneval"}'])
def test_what_is_no_record_is_refused_before_anything_is_made(
    tmp_path: Path, uploaded: Path, text: str | None
) -> None:
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"record\.json: no record of `uwt-eval run`"):
        UniWeTok(TINY.model).push_to_hub("me/mine", records=[path])
    assert not uploaded.exists()
