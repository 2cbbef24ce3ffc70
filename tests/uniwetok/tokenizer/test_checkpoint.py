from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from uniwetok.tensors import CheckpointError
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig, checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable


def same_weights(a: UniWeTok, b: UniWeTok) -> bool:
    others = b.state_dict()
    return all(torch.equal(value, others[name]) for name, value in a.state_dict().items())


def average_name(name: str) -> str:
    return "model_ema." + name.replace(".", "")


@pytest.fixture
def lightning(model, tmp_path) -> Path:
    """A training checkpoint whose encoder was frozen, and so has no averages."""
    state = {}
    for name, value in model.state_dict().items():
        if name.startswith("decoder"):
            state[name], state[average_name(name)] = value + 1, value
        else:
            state[name] = value
    state["loss.discriminator.weight"] = torch.zeros(3)
    state["model_ema.lossdiscriminatorweight"] = torch.zeros(3)
    state["model_ema.decay"] = torch.tensor(0.999)
    state["distill_head.weight"] = torch.zeros(2)
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "global_step": 10, "state_dict": state}, path)
    return path


@pytest.fixture
def folder(model, tmp_path) -> Path:
    path = tmp_path / "saved"
    model.save_pretrained(path)
    return path


def test_lightning_averages_override_and_raw_weights_fill_in(model, config, lightning):
    loaded = UniWeTok.from_checkpoint(lightning, config)
    assert same_weights(loaded, model)
    decoder = len(model.decoder.state_dict())
    report = loaded.report
    assert (report.path, report.config_source) == (lightning, "given")
    assert (report.tensors, report.from_ema) == (len(model.state_dict()), decoder)
    assert set(report.ignored) == {
        "loss.discriminator.weight",
        "model_ema.lossdiscriminatorweight",
        "model_ema.decay",
        "distill_head.weight",
    }
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("frozen", [(), ("encoder.conv_in.",), ("encoder.",)])
def test_weights_that_have_no_average_are_named_beside_those_that_have(
    model, config, tmp_path, frozen
):
    """Lightning's averages are of the parameters that are trained alone."""
    state = model.state_dict()
    raw = [name for name in state if name.startswith(frozen)]
    averages = {average_name(name): value for name, value in state.items() if name not in raw}
    torch.save({"state_dict": state | averages}, tmp_path / "last.ckpt")
    report = UniWeTok.from_checkpoint(tmp_path / "last.ckpt", config).report
    assert report.not_averaged == tuple(raw)
    count = f"last.ckpt: {len(state) - len(raw)} of {len(state)} tensors are moving averages"
    more = f" and {len(raw) - 8} more" if len(raw) > 8 else ""
    told = f"; without an average and so taken raw: {', '.join(raw[:8])}{more}" if raw else ""
    assert str(report) == count + told
    raw_report = UniWeTok.from_checkpoint(tmp_path / "last.ckpt", config, ema=False).report
    assert raw_report.not_averaged == ()


def test_lightning_raw_weights(model, config, lightning):
    loaded = UniWeTok.from_checkpoint(lightning, config, ema=False)
    assert loaded.report.from_ema == 0
    assert torch.equal(loaded.decoder.conv_out.bias, model.decoder.conv_out.bias + 1)
    assert average_name("decoder.conv_out.bias") in loaded.report.ignored


def test_configuration_is_inferred_without_a_file(model, config, lightning):
    loaded = UniWeTok.from_checkpoint(lightning)
    assert loaded.config == config
    assert loaded.report.config_source == "inferred"


@pytest.mark.parametrize("blocks", [1, 2])
def test_single_bottleneck_is_inferred(config, tmp_path, blocks):
    torch.manual_seed(0)
    single = UniWeTok(replace(config, bottleneck="single", num_res_blocks=blocks))
    path = tmp_path / "weights.safetensors"
    save_file(single.state_dict(), path)
    loaded = UniWeTok.from_checkpoint(path)
    assert loaded.config == single.config
    assert same_weights(loaded, single)
    with pytest.raises(CheckpointError, match="a configuration with bottleneck=single"):
        UniWeTok.from_checkpoint(path, replace(single.config, bottleneck="double"))


def test_siglu_is_told_by_the_configuration_alone(model, config, images, tmp_path):
    without = UniWeTok(replace(config, siglu=False))
    without.load_state_dict(model.state_dict())
    without.save_pretrained(tmp_path)
    loaded = UniWeTok.from_checkpoint(tmp_path)
    assert not loaded.config.siglu
    latents = loaded.latents(images)
    torch.testing.assert_close(2 * latents.sigmoid() - 1, model.latents(images))
    assert latents.abs().max() > 1
    (tmp_path / "config.json").unlink()
    assert UniWeTok.from_checkpoint(tmp_path).config.siglu


WRAPPED = {
    "DDP": lambda raw, averaged: {f"module.{name}": value for name, value in averaged.items()},
    "torch.compile": lambda raw, averaged: {f"_orig_mod.{n}": v for n, v in averaged.items()},
    "both": lambda raw, averaged: {f"module._orig_mod.{n}": v for n, v in averaged.items()},
    "Lightning's attribute": lambda raw, averaged: {
        "state_dict": {f"model.{name}": value for name, value in averaged.items()}
    },
    "two dictionaries": lambda raw, averaged: {"model": raw, "ema": averaged, "step": 3},
    "in a dictionary, of DDP": lambda raw, averaged: {
        "model": {f"module.{name}": value for name, value in raw.items()},
        "ema": {f"module.{name}": value for name, value in averaged.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
    },
    "prefixed averages": lambda raw, averaged: {
        **raw,
        **{f"ema.{name}": value for name, value in averaged.items()},
    },
    "averages alone": lambda raw, averaged: {"ema": averaged},
    "AveragedModel": lambda raw, averaged: {
        "n_averaged": torch.tensor(3),
        **{f"module.{name}": value for name, value in averaged.items()},
    },
}


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_wrapped_models_load_and_averages_are_taken(model, config, tmp_path, wrapped, suffix):
    averaged = model.state_dict()
    content = wrapped({name: value + 1 for name, value in averaged.items()}, averaged)
    path = tmp_path / f"checkpoint{suffix}"
    if suffix == ".pt":
        torch.save(content, path)
    elif any(isinstance(value, dict) for value in content.values()):
        pytest.skip("safetensors hold no dictionaries")
    else:
        save_file(content, path)
    loaded = UniWeTok.from_checkpoint(path)
    assert loaded.config == config
    assert same_weights(loaded, model)
    has_both = len(content) > 1 and "n_averaged" not in content and "ema" in str(content.keys())
    if has_both:
        assert loaded.report.from_ema == len(averaged)
        raw = UniWeTok.from_checkpoint(path, ema=False)
        assert raw.report.from_ema == 0
        assert torch.equal(raw.decoder.conv_out.bias, model.decoder.conv_out.bias + 1)


def test_one_weight_twice_is_refused(model, tmp_path):
    path = tmp_path / "twice.pt"
    torch.save({"model": model.state_dict(), "module": model.state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"model\.encoder\S+ and module\.encoder\S+ are both"):
        UniWeTok.from_checkpoint(path)


def shard(model, folder: Path) -> Path:
    folder.mkdir()
    state, index = model.state_dict(), {}
    for number, part in enumerate(("encoder", "decoder"), 1):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file({n: value for n, value in state.items() if n.startswith(part)}, folder / name)
        index |= {n: name for n in state if n.startswith(part)}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    return path


def test_shards_are_read_through_their_index(model, tmp_path):
    index = shard(model, tmp_path / "sharded")
    for place in (index, index.parent):
        loaded = UniWeTok.from_checkpoint(place)
        assert same_weights(loaded, model)
        assert loaded.report.config_source == "file"
    assert checkpoint.describe(index.parent)[1] == sum(p.numel() for p in model.parameters())
    next(index.parent.glob("*-of-*")).unlink()
    with pytest.raises(CheckpointError, match="1 of its 2 files are missing: model-0000"):
        UniWeTok.from_checkpoint(index)


def test_weights_both_whole_and_in_shards_are_refused(model, tmp_path):
    index = shard(model, tmp_path / "both")
    save_file(model.state_dict(), index.with_name("model.safetensors"))
    with pytest.raises(
        CheckpointError, match=r"both model\.safetensors and model\.safetensors\.ind"
    ):
        UniWeTok.from_checkpoint(index.parent)
    assert same_weights(UniWeTok.from_checkpoint(index), model)


def test_averages_without_names_are_told_of(model, tmp_path):
    averages = {"decay": 0.999, "shadow_params": list(model.state_dict().values())}
    torch.save({"model": model.state_dict(), "ema": averages}, tmp_path / "a.pt")
    report = UniWeTok.from_checkpoint(tmp_path / "a.pt").report
    assert report.from_ema == 0
    assert "ignored: ema.shadow_params.0, " in str(report)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[]", "{", '{"weight_map": {}}', '{"weight_map": {"a": "../b.safetensors"}}'],
)
def test_an_index_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match="not an index"):
        UniWeTok.from_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(model, tmp_path, value):
    state = {name: each.clone() for name, each in model.state_dict().items()}
    state["encoder.conv_in.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(CheckpointError, match=r"encoder\.conv_in\.weight holds 1 of \d+ values"):
        UniWeTok.from_checkpoint(tmp_path / "broken.pt")


def test_an_average_alone_that_is_not_finite_is_told_from_the_raw_weights(model, tmp_path):
    def saved(**parts: dict[str, torch.Tensor]) -> Path:
        torch.save(parts, tmp_path / "a.pt")
        return tmp_path / "a.pt"

    raw = model.state_dict()
    broken = {name: torch.full_like(value, torch.nan) for name, value in raw.items()}
    hint = r"moving averages, and the raw weights, which \?ema=false takes, are finite"
    with pytest.raises(CheckpointError, match=f"not finite.*{hint}"):
        UniWeTok.from_checkpoint(saved(model=raw, ema=broken), model.config)
    assert UniWeTok.from_checkpoint(tmp_path / "a.pt", model.config, ema=False)
    for parts in (
        {"model": broken, "ema": broken},
        {"ema": broken},
        {"model": broken, "ema": {"unknown": torch.ones(1)}},
    ):
        with pytest.raises(CheckpointError, match="not finite") as refused:
            UniWeTok.from_checkpoint(saved(**parts), model.config)
        assert "ema=false" not in str(refused.value)


def test_latents_that_are_not_finite_are_no_codes(model, images):
    images = torch.cat([images, images.new_full((1, *images.shape[1:]), torch.nan)])
    with pytest.raises(ValueError, match="encoder gave values that are not finite for sample"):
        model.encode(images)


def test_weights_of_any_file_lie_alike_in_memory(model, tmp_path):
    """Kernels round otherwise where a tensor begins at an odd place, as mapped ones do."""
    save_file(model.state_dict(), tmp_path / "weights.safetensors", metadata={"a": "b"})
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    for name in ("weights.safetensors", "weights.pt"):
        loaded = UniWeTok.from_checkpoint(tmp_path / name, model.config)
        assert {each.data_ptr() % 64 for each in loaded.state_dict().values()} == {0}


def test_arguments_of_a_training_script_may_stand_beside_weights(model, config, tmp_path):
    content = {"model": model.state_dict(), "args": argparse.Namespace(lr=1e-4)}
    torch.save(content, tmp_path / "a.pt")
    assert same_weights(UniWeTok.from_checkpoint(tmp_path / "a.pt"), model)


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_state_dict(model, config, tmp_path, legacy):
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    assert same_weights(UniWeTok.from_checkpoint(path, config), model)


def test_safetensors_alone_and_beside_a_configuration(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path)
    loaded = UniWeTok.from_checkpoint(path)
    assert loaded.report.config_source == "inferred"
    assert same_weights(loaded, model)
    other = replace(model.config, heads=2)
    (tmp_path / "config.json").write_text(json.dumps(other.to_dict()))
    loaded = UniWeTok.from_checkpoint(path)
    assert (loaded.report.config_source, loaded.config) == ("file", other)


def test_saved_folder(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    for loaded in (UniWeTok.from_checkpoint(folder), UniWeTok.from_pretrained(folder)):
        assert loaded.config == model.config
        assert loaded.report.config_source == "file"
        assert same_weights(loaded, model)


def test_saving_over_the_file_that_was_loaded(model, folder):
    loaded = UniWeTok.from_pretrained(folder)
    loaded.save_pretrained(folder)
    assert same_weights(loaded, model)
    assert same_weights(UniWeTok.from_pretrained(folder), model)


def test_released_folder(model, config, tmp_path):
    save_file(model.state_dict(), tmp_path / "ae.safetensors")
    released = {"ddconfig": config.to_released(), "gan_decoder": True}
    (tmp_path / "ae_config.json").write_text(json.dumps(released))
    for path in (tmp_path, tmp_path / "ae.safetensors"):
        loaded = UniWeTok.from_checkpoint(path)
        assert (loaded.config, loaded.report.config_source) == (config, "file")
        assert same_weights(loaded, model)


def test_repository_is_fetched_at_its_revision(model, folder, monkeypatch):
    asked = {}

    def snapshot(name, **options):
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.delenv("UWT_EVAL_OFFLINE")
    monkeypatch.setattr("uwt_images.hub._unreachable", lambda name: "")
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert same_weights(UniWeTok.from_pretrained("owner/name", revision="v1"), model)
    assert (asked["name"], asked["revision"]) == ("owner/name", "v1")
    assert set(asked["allow_patterns"]) == {
        "model.safetensors",
        "config.json",
        "ae.safetensors",
        "ae_config.json",
        "model.safetensors.index.json",
        "model-*-of-*.safetensors",
    }


def test_unreachable_repository(monkeypatch):
    def snapshot(name, **options):
        raise OSError("no route\nto host")

    monkeypatch.delenv("UWT_EVAL_OFFLINE")
    monkeypatch.setattr("uwt_images.hub._unreachable", lambda name: "")
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    message = r"owner/name: there is no such place, and the repository .*\(OSError: no route\)$"
    with pytest.raises(CheckpointError, match=message):
        UniWeTok.from_pretrained("owner/name")


def test_name_that_is_no_repository():
    with pytest.raises(
        CheckpointError, match=r"/no/such/folder: there is no such place, and it is no"
    ):
        UniWeTok.from_pretrained("/no/such/folder")


def test_half_precision_files_become_float32(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({name: value.half() for name, value in model.state_dict().items()}, path)
    loaded = UniWeTok.from_checkpoint(path)
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.encoder.conv_out.bias, model.encoder.conv_out.bias.half().float())


class Payload:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("in_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("function", [os.mkdir, print])
def test_code_in_a_checkpoint_is_refused(tmp_path, in_zip, protocol, function):
    path, marker = tmp_path / "model.ckpt", tmp_path / "executed"
    content = {"state_dict": {}, "hyper_parameters": Payload(function, str(marker))}
    if in_zip:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"model.ckpt: refused, .* run code; .*safetensors"):
        UniWeTok.from_checkpoint(path)
    assert not marker.exists()


def test_missing_names_are_listed(model, config, folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: value.clone() for name, value in weights.items() if "mid_attn" not in name}
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        UniWeTok.from_checkpoint(folder)
    message = str(caught.value)
    assert "24 tensors do not fit: encoder.mid_attn_blocks.0" in message
    assert message.count("(missing)") == 8
    assert "and 16 more" in message
    assert "It fits a configuration with attention_blocks=0" in message
    assert "\n" not in message


def test_wrong_shapes_name_the_configuration_that_fits(folder):
    with pytest.raises(CheckpointError) as caught:
        UniWeTok.from_checkpoint(folder, UniWeTokConfig())
    message = str(caught.value)
    assert "(file (16,), model (128,))" in message or "(missing)" in message
    assert (
        "It fits a configuration with channels=32, channel_multipliers=[1, 1, 1, 1, 2, 2]"
        in message
    )


def test_incomplete_file_fits_no_configuration(model, tmp_path):
    weights = dict(model.state_dict())
    del weights["decoder.norm_out.bias"]
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"1 tensors do not fit: decoder.norm_out.bias \(mis"):
        UniWeTok.from_checkpoint(path)
    other = replace(model.config, num_res_blocks=2)
    with pytest.raises(CheckpointError, match="No other configuration fits either"):
        UniWeTok.from_checkpoint(path, other)


def test_foreign_weights_need_a_configuration(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no UniWeTok's sizes can be told"):
        UniWeTok.from_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04nonsense", b"<html>not found</html>"])
def test_corrupt_files_are_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.(safetensors|ckpt): not a .*fetch it again"):
        UniWeTok.from_checkpoint(path)


def test_truncated_files_are_named(folder, lightning):
    for path in (folder / "model.safetensors", lightning):
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="fetch it again"):
            UniWeTok.from_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ([1, 2], "a list"),
        ({"state_dict": [1]}, "'state_dict'"),
        ({"net": {"weight": torch.ones(2)}, "epoch": 3}, "'net', 'epoch'"),
        ({}, "nothing"),
    ],
)
def test_checkpoint_without_tensors_is_told_what_it_holds(tmp_path, content, held):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds no named tensors") as refused:
        UniWeTok.from_checkpoint(tmp_path / "model.pt")
    assert str(refused.value).endswith(f"; it holds {held}: save the weights alone")


def test_absent_paths(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent.ckpt: no such file or folder"):
        UniWeTok.from_checkpoint(tmp_path / "absent.ckpt")
    with pytest.raises(CheckpointError, match=r"holds no model.safetensors or ae.safetensors"):
        UniWeTok.from_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"depth": 1}', '{"ch": 128}', '{"groups": 7}'])
def test_bad_configuration_file(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config.json: not a UniWeTok configuration: \w+"):
        UniWeTok.from_checkpoint(folder)


def test_folder_with_weights_only(model, folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "model.safetensors", bare)
    assert UniWeTok.from_checkpoint(bare).config == model.config
