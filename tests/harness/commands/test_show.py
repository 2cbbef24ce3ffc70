"""`uwt-eval show` of a model as `--model` names it: the card, before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import PIL
import pytest
from PIL import Image

from harness.engine.protocols import find
from harness.interfaces import Code, own
from harness.interfaces.errors import Unavailable
from harness.interfaces.registry import EXTRACTORS, METRICS, MODELS
from harness.interfaces.types import Codebook, ModelCard
from harness.metrics.scores import USAGE_JOINT
from harness.plugins import PLUGINS
from harness.sets import FILES
from tests.conftest import CommandLine
from tests.reports.runs import write_run

PIL_VERSION = PIL.__version__
OF_FILES = PLUGINS["metrics"].keys() - {"dreamsim"}
"""Whose extractors a protocol of files alone can make."""


class Sized:
    """A tokenizer for images of one size."""

    concurrent = True
    best_batch = 8
    card = ModelCard(
        name="sized",
        codebook=Codebook(size=1024),
        tokens=256,
        source="owner/name",
        revision="abc",
        licence="mit",
        parameters=5,
        dtype="bfloat16",
        sizes=(512,),
    )

    def __init__(self, option: int = 0) -> None:
        del option

    def load(self, device: str) -> None:
        raise AssertionError("loaded")

    def encode(self, images: object) -> list[Code]:
        raise AssertionError

    def decode(self, codes: object, seeds: object) -> object:
        raise AssertionError


@pytest.fixture(autouse=True)
def sized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "sized": Sized})


def test_the_card_of_a_model(uwt_eval: CommandLine) -> None:
    facts = json.loads(uwt_eval("show", "sized?option=1", "--json").out)
    for name, value in (
        ("source", "owner/name"), ("revision", "abc"), ("licence", "mit"), ("parameters", 5),
        ("dtype", "bfloat16"), ("sizes", [512]), ("best batch", 8), ("tokens", 256),
        ("several threads at a time", True),
    ):  # fmt: skip
        assert facts[name] == value
    assert facts["of a 256x256 image"]["bits"] == 2560
    assert "imagenet-recon" in facts["tasks that fit"]
    assert "licence: mit" in uwt_eval("show", "sized?option=1").out


def test_a_model_that_cannot_be_is_one_line(uwt_eval: CommandLine, tmp_path: Path) -> None:
    for name in (
        *(f"images:{tmp_path / 'nowhere'}", "sized?other=1", "uniwetok:nowhere.ckpt", "a:b?c"),
    ):
        result = uwt_eval("show", name)
        assert result.code == 2
        assert result.err.startswith("error: ")
        assert "--model" not in result.err


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_size_that_a_model_cannot_do_is_refused_before_it_is_loaded(
    how: tuple[str, ...], uwt_eval: CommandLine, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    words = ("--model", "sized", "--data", tmp_path, "--device", "cpu", "--out", tmp_path / "runs")
    result = uwt_eval("run", "imagenet-recon", *words, *how)
    assert result.code == 2
    message = " ".join(result.err.split())
    assert "model 'sized' does 512x512, protocol 'wetok' evaluates 256x256" in message


def test_a_name_of_several_kinds_shows_them_all(uwt_eval: CommandLine) -> None:
    """`wetok` is a protocol and a model, `nano` a protocol and a preset."""
    for name, kinds in (("wetok", ["protocol", "model"]), ("nano", ["protocol", "preset"])):
        facts = json.loads(uwt_eval("show", name, "--json").out)
        assert list(facts) == kinds
        for kind in kinds:
            assert facts[kind][kind] == name
        text = uwt_eval("show", name).out
        assert [line for line in text.splitlines() if line.startswith("# ")] == [
            f"# The {kind} {name}" for kind in kinds
        ]
    assert "dtype" in json.loads(uwt_eval("show", "wetok", "--json").out)["model"]["options"]


def test_names_are_found_in_any_case(uwt_eval: CommandLine) -> None:
    for given, kind, name in (
        ("PSNR", "metric", "psnr"), ("WebP", "model", "webp"), ("ADM", "protocol", "adm"),
        ("ImageNet-Recon", "task", "imagenet-recon"),
    ):  # fmt: skip
        assert json.loads(uwt_eval("show", given, "--json").out)[kind] == name
    assert "# The protocol nano\n" in uwt_eval("show", "NANO").out


def test_names_that_differ_in_case_alone_are_not_chosen_among(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        MODELS, "_registered", {**MODELS._registered, "Sized": Sized, "sized": Sized}
    )
    assert json.loads(uwt_eval("show", "Sized", "--json").out)["model"] == "Sized"
    refused = uwt_eval("show", "SIZED")
    assert refused.code == 2
    assert "'SIZED': did you mean 'sized'" in refused.err


def test_defaults_and_arguments_are_shown_as_they_are_written(uwt_eval: CommandLine) -> None:
    facts = json.loads(uwt_eval("show", "openai-chat", "--json").out)
    assert facts["options"]["body"]["default"] == "{}"
    assert facts["options"]["body"]["description"] == "More fields of every request, as JSON."
    assert facts["written"].startswith("openai-chat:MODEL@URL[?")
    assert "--model openai-chat:MODEL@URL" in uwt_eval("show", "openai-chat?body={}").err
    torchscript = json.loads(uwt_eval("show", "torchscript", "--json").out)
    assert torchscript["written"].startswith("torchscript:ENCODER,DECODER[?")


def test_a_model_that_needs_no_argument_shows_its_card_too(uwt_eval: CommandLine) -> None:
    facts = json.loads(uwt_eval("show", "uniwetok-nano", "--json").out)
    assert facts["options"]["dtype"]["default"] == "float32"
    assert facts["card"]["licence"] == "Apache-2.0"
    assert facts["card"]["of a 256x256 image"]["tokens"] == 64
    assert "card" not in json.loads(uwt_eval("show", "uniwetok", "--json").out)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_record_is_one_line(content: str, uwt_eval: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(content)
    refused = uwt_eval("show", tmp_path)
    assert refused.code == 2, refused.err
    assert "record.json is damaged" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_a_codec_is_told_of_with_the_library_that_codes(
    uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stated() -> str:
        own._kept.cache_clear()
        facts = json.loads(uwt_eval("show", "webp", "--json").out)
        return str(facts["card"]["config"]["pillow"])

    monkeypatch.setattr(own, "others", lambda: False)
    here = stated()
    monkeypatch.setattr(PIL, "__version__", "99.1")
    assert (here, stated()) == (PIL_VERSION, "99.1")


def test_what_a_metric_is(uwt_eval: CommandLine) -> None:
    facts = json.loads(uwt_eval("show", "rfid", "--json").out)
    assert facts["title"] == "rFID"
    assert facts["better"] == "lower"
    assert facts["extractors"] == facts["assets"] == ["inception"]
    assert "imagenet-recon" in facts["shown by default"]
    assert "reconstructions to originals" in facts["about"]
    told = uwt_eval("show", "psnr").out
    assert "better: higher\nunit: dB\nextractors: pixels\nassets: none\n" in told
    assert "uwt-eval metrics" in told
    assert "unit: %" in uwt_eval("show", "usage_joint").out
    assert "shown by default: none" in uwt_eval("show", "ms_ssim").out
    listed = json.loads(uwt_eval("list", "metrics", "--json").out)["metrics"]
    assert len(set(listed.values())) == len(listed), "no two metrics are told alike"
    assert listed["psnr"].startswith("PSNR↑ in dB: ")
    assert listed["usage_joint"] == f"joint↑ in %: {USAGE_JOINT.label.about}"


@pytest.mark.parametrize("metric", METRICS.names())
def test_the_weights_of_a_metric_are_those_that_its_extractor_misses(
    metric: str, uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(uwt_eval("show", metric, "--json").out)
    facts = found.get("metric", {}) if "asset" in found else found
    assert "Args:" not in facts["about"]
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path))
    for need in METRICS.get(metric).needs if metric in OF_FILES else ():
        missing = ""
        try:
            EXTRACTORS.get(need)(find("torch-fidelity", FILES).settings, "cpu")
        except Unavailable as why:
            missing = str(why)
        assert re.findall(r"weights '(.+?)' missing", missing) == facts["assets"][:1]


def test_a_run_is_shown_by_its_folder_or_its_record(uwt_eval: CommandLine, tmp_path: Path) -> None:
    root = write_run(tmp_path)
    told = json.loads(uwt_eval("show", root, "--json").out)
    assert told["run_id"] == root.name
    assert json.loads(uwt_eval("show", root / "record.json", "--json").out) == told
