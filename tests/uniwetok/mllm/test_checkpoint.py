from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tests.uniwetok.mllm import toys
from uniwetok.mllm import MLLM, Assistant, Drawing, MLLMError, Sampling
from uniwetok.mllm.checkpoint import read_config
from uniwetok.tensors import CheckpointError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return toys.saved(tmp_path_factory.mktemp("models") / "whole", 4)


@pytest.fixture
def folder(whole, tmp_path):
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_what_is_saved_is_loaded(whole):
    made, loaded = toys.assistant(4), Assistant.from_pretrained(whole)
    assert loaded.model.config == made.model.config
    weights = loaded.model.state_dict()
    assert weights.keys() == made.model.state_dict().keys()
    for name, weight in made.model.state_dict().items():
        assert torch.equal(weights[name], weight), name
    drawing = Drawing(height=64, width=128, cfg=2, steps=2)
    drawn = [each.draw(["A red 红"], [1], drawing)[0] for each in (made, loaded)]
    assert torch.equal(*drawn)


def test_all_files_have_the_same_rights(whole):
    assert len({path.stat().st_mode for path in whole.iterdir()}) == 1


def test_no_partial_files_stay(whole):
    assert not [path for path in whole.iterdir() if "partial" in path.name or path.is_dir()]


def test_half_precision_can_be_asked_for(whole):
    loaded = Assistant.from_pretrained(whole, dtype=torch.bfloat16)
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.bfloat16}
    codes = loaded.draw(["A"], [1], Drawing(height=64, width=64, cfg=2, steps=2))
    assert codes[0].abs().eq(1).all()


def test_a_released_folder_is_read_without_our_file(folder):
    released = {
        "ch_target": 16,
        "ch_cond": 32,
        "ch_latent": 128,
        "depth_latent": 2,
        "depth_adanln": 1,
        "grad_checkpointing": False,
        "time_shift": 1.0,
        "time_schedule": "logit_normal",
        "P_mean": -0.8,
        "P_std": 0.8,
        "parallel_num": 4,
        "diff_batch_mul": 1,
        "use_swiglu": True,
    }
    (folder / "mllm_config.json").unlink()
    (folder / "vision_head_config.json").write_text(json.dumps(released))
    config = MLLM.from_pretrained(folder).config
    assert config == toys.config(4, max_side=4096)
    (folder / "ae_config.json").write_text(json.dumps({"ddconfig": {"ch_mult": [1, 1, 2, 2, 4]}}))
    assert read_config(folder).downsample == 16


def test_the_head_is_described_as_in_a_released_folder(whole):
    values = json.loads((whole / "vision_head_config.json").read_text())
    assert (values["ch_target"], values["ch_cond"], values["parallel_num"]) == (16, 32, 4)
    assert values["use_swiglu"] is True
    assert set(load_file(whole / "projector.safetensors")) == {
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    }


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("vision_head.safetensors", "no such file"),
        ("projector.safetensors", "no such file"),
        ("model.safetensors", "the language model cannot be read"),
        ("ae.safetensors", "the image tokenizer, is missing"),
    ],
)
def test_missing_parts_are_named(folder, missing, words):
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=words):
        Assistant.from_pretrained(folder)


def test_damaged_parts_are_named(folder):
    weights = load_file(folder / "vision_head.safetensors")
    save_file({**weights, "net.other": torch.zeros(1)}, folder / "vision_head.safetensors")
    with pytest.raises(CheckpointError, match=r"net.other \(not in the model\)"):
        MLLM.from_pretrained(folder)
    (folder / "vision_head.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        MLLM.from_pretrained(folder)
    (folder / "mllm_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"mllm_config\.json: JSONDecodeError"):
        MLLM.from_pretrained(folder)


def test_pickled_weights_are_not_loaded(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the language model cannot be read"):
        MLLM.from_pretrained(folder)


@pytest.mark.parametrize("setting", [{"use_swiglu": False}, {"time_shift": 3.0}])
def test_released_settings_that_are_not_built_are_refused(folder, setting):
    path = folder / "vision_head_config.json"
    (folder / "mllm_config.json").unlink()
    path.write_text(json.dumps({**json.loads(path.read_text()), **setting}))
    with pytest.raises(CheckpointError, match="is not supported"):
        read_config(folder)


def test_no_folder_and_another_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        MLLM.from_pretrained(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no multimodal model"):
        MLLM.from_pretrained(tmp_path)


def test_a_text_tokenizer_without_special_tokens_is_refused(folder):
    toys.text_tokenizer().save_pretrained(folder)
    with pytest.raises(MLLMError, match="lacks 24 special tokens"):
        Assistant.from_pretrained(folder)


def test_a_text_tokenizer_with_more_tokens_than_the_model_is_refused(folder):
    tokenizer = toys.assistant(4).text
    tokenizer.add_tokens(["one more"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(MLLMError, match="they are not of one model"):
        Assistant.from_pretrained(folder)


def test_another_image_tokenizer_is_refused(whole):
    made = toys.assistant(4)
    config = toys.config(4, latent_channels=8)
    language_model = toys.language_model()
    language_model.resize_token_embeddings(len(made.text))
    with pytest.raises(MLLMError, match="tokens of 8 bits and 32 pixels"):
        Assistant(MLLM(language_model, config), made.text, made.images)


@pytest.mark.parametrize(
    ("kind", "sizes"), [(LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)]
)
def test_other_language_models_with_tied_weights(tmp_path, kind, sizes):
    torch.manual_seed(0)
    language_model = kind(
        sizes(
            vocab_size=256 + toys.MERGES,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    )
    text = toys.text_tokenizer()
    model = toys.randomize(MLLM.build(language_model, text, toys.config())).eval()
    made = Assistant(model, text, toys.image_tokenizer())
    made.save_pretrained(tmp_path)
    loaded = Assistant.from_pretrained(tmp_path)
    assert len(loaded.text) == len(text)
    drawing = Drawing(height=64, width=64, cfg=2, steps=2)
    drawn = [each.draw(["A red 红"], [1], drawing)[0] for each in (made, loaded)]
    assert torch.equal(*drawn)
    sampling = Sampling(max_new_tokens=5)
    replies = [each.chat([[each.question("Hi")]], sampling=sampling) for each in (made, loaded)]
    assert replies[0] == replies[1]
