"""`push_to_hub`: what would be uploaded, with the upload itself replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from harness.interfaces.types import MetricValue
from tests.conftest import CommandLine
from tests.reports.runs import write_run
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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory, with a metric of each kind."""
    sets = {
        "rfid": MetricValue(value=0.791, ci_low=0.77, ci_high=0.81, n=4, higher_is_better=False),
        "psnr": MetricValue(value=21.5, ci_low=21.0, ci_high=22.0, n=4, unit="dB"),
        "is": MetricValue.absent("not computed: too few images"),
    }
    return write_run(tmp_path / "runs", columns={"ssim": [0.5] * 4}, sets=sets, dataset="my|set")


def test_the_tokenizer_is_uploaded_with_its_records(run: Path, uploaded: Path) -> None:
    model = UniWeTok(TINY.model)
    address = model.push_to_hub("me/mine", records=[run], license="apache-2.0")
    assert address == "https://huggingface.co/me/mine/commit/0"
    again = UniWeTok.from_pretrained(uploaded / "me" / "mine")
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
    card = ModelCard.load(uploaded / "me" / "mine" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "uniwetok"
    assert card.data.model_name == "mine"
    assert [each.metric_type for each in card.data.eval_results] == ["ssim", "rfid", "psnr"]
    for row in (
        r"| imagenet-recon | wetok | my\|set | 4 | 0 | PSNR | 21.50 dB | 21.00 to 22.00 |",
        r"| imagenet-recon | wetok | my\|set | 4 | 0 | rFID | 0.79 | 0.77 to 0.81 |",
    ):
        assert row in card.text


def test_the_card_holds_what_export_writes_and_the_hub_reads(
    run: Path, uploaded: Path, uwt_eval: CommandLine
) -> None:
    UniWeTok(TINY.model).push_to_hub("me/mine", records=[run / "record.json"])
    path = uploaded / "me" / "mine" / "README.md"
    metadata = metadata_load(path)
    assert metadata is not None
    _, found = model_index_to_eval_results(metadata["model-index"])
    exported = ModelCard(uwt_eval("export", run, "--to", "hf").out).data.eval_results
    assert found == exported
    record = json.loads((run / "record.json").read_text())
    for result in found:
        cell = record["metrics"][result.metric_type]
        assert result.metric_value == cell["value"]
        assert result.metric_args["ci_95"] == [cell["ci_low"], cell["ci_high"]]
        assert (result.task_type, result.dataset_type) == ("image-to-image", "my|set")


def test_a_card_is_of_one_model(run: Path, uploaded: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "runs", "other")
    with pytest.raises(ValueError, match="a card is of one model, these are of toy, other"):
        UniWeTok(TINY.model).push_to_hub("me/mine", records=[run, other])
    assert not uploaded.exists()


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
