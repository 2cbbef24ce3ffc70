"""`uwt-eval train mllm`: a whole run from the command line, its presets, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.uniwetok.train.mllm.tiny import write_data, write_language_model, write_tokenizer
from uniwetok.presets import MLLM_PRESETS, get_mllm
from uniwetok.train import TrainingError
from uniwetok.train.engine.machine import H100, decide

SMALL = (
    *("model.width=32", "model.latent_channels=16", "model.max_side=512"),
    *("model.diffusion_width=128", "model.diffusion_blocks=2", "model.diffusion_modulations=1"),
    *("data.row_tokens=160", "data.image_area=16384", "data.workers=0"),
    *("shard=false", "precision=float32", "batch_size=1", "steps=2"),
)


def test_presets_are_the_released_training() -> None:
    assert list(MLLM_PRESETS) == ["mllm-pretrain", "mllm-gen", "mllm-edit", "mllm-chat"]
    for preset in MLLM_PRESETS.values():
        config = preset.config
        optimizer = config.optimizer
        assert (optimizer.learning_rate, optimizer.betas) == (1e-5, (0.9, 0.95))
        assert (optimizer.epsilon, optimizer.warmup_steps) == (1e-15, 2000)
        assert (optimizer.schedule, optimizer.max_gradient_norm) == ("constant", 1.0)
        assert config.data.row_tokens == 37_376
        assert (config.model.flip_rate, config.shard) == (0.1, True)
        assert decide(config, H100)[0].precision == "bfloat16"
        chat = preset.name == "mllm-chat"
        assert config.model.text_weight == (1.0 if chat else 0.01)
        assert config.data.condition_dropout == (0.0 if chat else 0.1)
    assert get_mllm("edit") is get_mllm("mllm-edit")
    with pytest.raises(TrainingError, match=r"unknown preset .draw.: .*known: pretrain, gen"):
        get_mllm("draw")


def test_a_run_and_a_dry_run(uwt_eval: CommandLine, tmp_path: Path) -> None:
    parts = {
        "--data": write_data(tmp_path),
        "--tokenizer": write_tokenizer(tmp_path / "tokenizer"),
        "--language-model": write_language_model(tmp_path / "qwen"),
        "--out": tmp_path / "run",
    }
    words = [str(word) for pair in parts.items() for word in pair]
    words += [word for setting in SMALL for word in ("--set", setting)]
    result = uwt_eval("train", "mllm", "--preset", "pretrain", *words, "--device", "cpu", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["steps"] == 2
    assert facts["values"]["text_loss"] > 0
    assert (Path(facts["model"]) / "ae.safetensors").is_file()
    planned = uwt_eval("train", "mllm", "--preset", "pretrain", *words, "--dry-run", "--gpus", "1")
    assert planned.code == 0, planned.err
    assert "diffusion head" in planned.out
    assert "estimate" in planned.out
    words[1] = f"own={words[1]}@3"
    words.append(f"again={parts['--data']}@1")
    mixed = uwt_eval("train", "mllm", "--preset", "pretrain", *words, "--dry-run", "--json")
    assert mixed.code == 0, mixed.err
    sources = json.loads(mixed.out)["sources"]
    assert sources["own"] == {"share": 0.75, "size": 8, "samples": None, "epochs": None}
    assert sources["again"]["share"] == 0.25


def test_a_run_is_validated_by_the_task_that_is_named(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    parts = {
        "--data": write_data(tmp_path),
        "--tokenizer": write_tokenizer(tmp_path / "tokenizer"),
        "--language-model": write_language_model(tmp_path / "qwen"),
        "--out": tmp_path / "run",
    }
    words = [str(word) for pair in parts.items() for word in pair]
    words += [word for setting in SMALL for word in ("--set", setting)]
    words += ["--device", "cpu", "--validate-every", "2"]
    train = ("train", "mllm", "--preset", "pretrain", *words)
    unnamed = uwt_eval(*train)
    assert unnamed.code == 2
    assert "--validate-every: by what task? name it with --validate TASK" in unnamed.err
    other = uwt_eval(*train, "--validate", "imagenet-recon")
    assert other.code == 2
    assert "it takes VisualTokenizer or ImageFiles, this trains none" in other.err
    result = uwt_eval(
        *train, "--validate", "geneval", "--validate-limit", "1",
        "--validate-as", "uniwetok-gen?height=128&width=128&steps=1",
    )  # fmt: skip
    assert result.code == 0, result.err
    (root,) = (tmp_path / "run" / "validation").glob("geneval-*")
    drawn = json.loads((root / "run.json").read_text())["model"]
    assert (drawn["name"], drawn["config"]["steps"]) == ("uniwetok-gen", 1)


def test_what_is_missing_is_said(uwt_eval: CommandLine, tmp_path: Path) -> None:
    data = str(write_data(tmp_path))
    cases = [
        (["--preset", "gen"], "--data is missing: mllm-gen trains on records of text-image"),
        (["--preset", "drawing", "--data", data], "unknown preset"),
        (["--preset", "pretrain", "--data", str(tmp_path / "no.jsonl")], "does not exist"),
        (
            ["--preset", "gen", "--language-model", "x", "--set", "init=y"],
            "--language-model x and init=y: give one of them",
        ),
        (
            ["--preset", "pretrain", "--data", data, "--language-model", str(tmp_path / "none")],
            "there is no such place, and it is no OWNER/NAME of a repository; give the path",
        ),
        (["--preset", "gen", "--data", data, "--device", "tpu"], "use auto or cpu"),
    ]
    for words, message in cases:
        words += ["--out", str(tmp_path / "out"), "--set", "precision=float32"]
        result = uwt_eval("train", "mllm", *words)
        assert result.code == 2
        assert message in " ".join(result.err.split())
        assert "Traceback" not in result.err


def test_a_folder_that_is_no_language_model_is_told_what_it_lacks(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    model = write_language_model(tmp_path / "qwen")
    words = (
        *("train", "mllm", "--preset", "pretrain", "--data", write_data(tmp_path), "--device"),
        *("cpu", "--tokenizer", write_tokenizer(tmp_path / "tokenizer"), "--out", tmp_path / "out"),
        *(word for change in SMALL for word in ("--set", change)),
    )

    def refused(folder: Path, why: str, *more: str) -> None:
        result = uwt_eval(*words, "--language-model", folder, *more)
        assert result.code == 2
        line = result.err.splitlines()[-1]
        assert line.startswith(f"error: --language-model {folder}: {why}; give a causal language")

    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "this folder has no config.json, no *.safetensors, no tokenizer_config.json")
    refused(empty, "its config.json is not there", "--dry-run")
    for kind, config in (
        ("vit", {}),
        ("roberta", {"is_decoder": False}),
        ("bart", {"is_encoder_decoder": True, "is_decoder": True}),
    ):
        (model / "config.json").write_text(json.dumps({"model_type": kind, **config}), "utf-8")
        what = f"a model of type {kind!r} is no causal language model, or has learned to read both"
        for more in ((), ("--dry-run",)):
            refused(model, f"{what} ways", *more)
    (model / "model.safetensors").unlink()
    refused(model, "this folder has no *.safetensors")


def test_presets_are_listed_and_shown(uwt_eval: CommandLine) -> None:
    listed = uwt_eval("list", "presets")
    assert "mllm-chat" in listed.out
    shown = uwt_eval("show", "mllm-edit", "--json")
    assert json.loads(shown.out)
