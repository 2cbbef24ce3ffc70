"""Plug-ins as researchers write them: what they do beside their work, and what they get wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY, CommandLine

MODEL = """
import os, sys
import torch
from harness.interfaces import Code
from harness.interfaces.registry import MODELS
from harness.interfaces.types import Codebook, ModelCard

@MODELS.register("theirs")
class Theirs:
    card = ModelCard(name="theirs"{card})
    def load(self, device):
        {load}
    def encode(self, images):
        codes = [Code(bytes(64), *images.shape[2:]) for _ in images]
        {encode}
        return codes
    def decode(self, codes, seeds):
        images = torch.zeros(len(codes), 3, codes[0].height, codes[0].width)
        {decode}
        return images
"""


@pytest.fixture
def run(uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(card: str = "", load: str = "pass", encode: str = "pass", decode: str = "pass"):
        code = MODEL.format(card=card, load=load, encode=encode, decode=decode)
        (tmp_path / "theirs.py").write_text(code, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        words = ("--model", "theirs", "--limit", "2", "--metrics", "psnr,bpp", "--out", "runs")
        return uwt_eval("run", "imagenet-recon", "--plugin", "theirs.py", *words, "--json")

    return run


def test_what_it_prints_and_where_it_goes_moves_nothing(run, tmp_path: Path) -> None:
    plain = run()
    assert plain.code == 0
    noisy = run(load="os.chdir('/')", decode="print('a word'); os.chdir('/')")
    assert noisy.code == 0
    assert "a word" in noisy.err
    (record,) = json.loads(noisy.out)
    assert record["metrics"]["psnr"]["value"] == plain.records[0]["metrics"]["psnr"]["value"]
    assert Path.cwd() == tmp_path
    assert len([*tmp_path.glob("runs/*/record.json")]) == 2


@pytest.mark.parametrize("form", [("--json",), ("--format=json",), ("--format", "json")])
def test_what_its_libraries_print_is_no_part_of_a_document(
    tmp_path: Path, form: tuple[str, ...]
) -> None:
    """C code knows nothing of Python's stdout, and keeps what it prints until the process ends."""
    load = "import ctypes; ctypes.CDLL(None).printf(b'of C'); os.write(1, b'of a file descriptor')"
    code = MODEL.format(card="", load=load, encode="pass", decode="os.system('echo of a shell')")
    (tmp_path / "theirs.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uwt_eval", "run", "imagenet-recon", "--plugin", "theirs.py"),
            *("--model", "theirs", "--limit", "1", "--metrics", "bpp", *form),
        ],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [record["model"] for record in json.loads(done.stdout)] == ["theirs"]
    for word in ("of C", "of a file descriptor", "of a shell"):
        assert word in done.stderr


@pytest.mark.parametrize("where", ["load", "decode"])
def test_it_cannot_end_a_run_as_if_all_were_done(run, where: str) -> None:
    result = run(**{where: "sys.exit(0)"})
    assert result.code == 2
    assert "it asked Python to end (SystemExit: 0)" in result.err


ENDS = """
import sys
from harness.interfaces.registry import EXTRACTORS, METRICS
from harness.metrics.scores import SampleMean

@EXTRACTORS.register("mean-level")
class MeanLevel:
    identity = {"version": 1}

    def __init__(self, settings, device):
        "made" == "WHERE" and sys.exit(0)

    def observe(self, pairs):
        sys.exit(0)

METRICS.register("level")(SampleMean("level", "mean-level", higher_is_better=True))
"""


@pytest.mark.parametrize("where", ["made", "observed"])
def test_a_metric_that_asks_python_to_end_is_no_success(
    where: str, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    plugin = tmp_path / "ends.py"
    plugin.write_text(ENDS.replace("WHERE", where))
    words = ("--metrics", "level", "--plugin", plugin, "--limit", 2, "--model", "jpeg")
    done = uwt_eval("run", "imagenet-recon", *words, "--out", tmp_path / "runs", "--quiet")
    assert done.code == 70
    assert "it asked Python to end (SystemExit: 0)" in done.err


@pytest.mark.parametrize("dtype", ["uint8", "int64", "complex64"])
def test_pixels_of_other_numbers_are_refused(run, dtype: str) -> None:
    result = run(decode=f"images = images.to(torch.{dtype})")
    assert result.code == 2
    assert f"decode gave {dtype}, not floating-point numbers in [-1, 1]" in result.err


@pytest.mark.parametrize(
    ("encode", "given"),
    [
        ("codes = []", "0 codes"),
        ("codes = None", "NoneType"),
        ("codes = [code.payload for code in codes]", "bytes"),
        ("codes = images", "Tensor"),
    ],
)
def test_what_are_no_codes_of_the_images_is_refused(run, encode: str, given: str) -> None:
    result = run(encode=encode)
    assert result.code == 2
    assert f"the model gave {given} for 1 sample: give a list of Codes, one a sample" in result.err


def test_a_rate_that_contradicts_the_card_is_refused(run) -> None:
    told = run(card=", codebook=Codebook(size=64), tokens=64")
    assert told.code == 2
    assert "states 64 tokens and 384 bits for 256x256 pixels, its codes take 512" in told.err
    assert run(card=", codebook=Codebook(size=256), tokens=64").code == 0


def test_a_strip_fails_alone(uwt_eval: CommandLine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (200_000, 1)).save(data / "strip.png")
    Image.new("RGB", (300, 300)).save(data / "square.png")
    words = ("--data", data, "--model", "jpeg", "--metrics", "psnr", "--out", tmp_path / "runs")
    result = uwt_eval("run", "imagenet-recon", *words, "--json")
    assert result.code == 3
    (record,) = result.records
    assert record["failures"] == {"decode_error": 1}
    assert "would be 51200000x256 pixels before it is cropped" in result.err


def test_few_images_under_means_of_batches_are_told(uwt_eval: CommandLine, tmp_path: Path) -> None:
    data, draw = tmp_path / "data", np.random.default_rng(0)
    data.mkdir()
    for index in range(9):
        noise = draw.integers(0, 1 + 20 * index, (256, 256, 3), np.uint8, endpoint=True)
        Image.fromarray(noise).save(data / f"{index}.png")
    words = ("--data", data, "--model", "jpeg:9000", "--metrics", "psnr", "--out", tmp_path / "r")
    for protocol, told in (("wetok", True), ("exact", False)):
        (record,) = uwt_eval(
            "run", "imagenet-recon", *words, "--protocol", protocol, "--json"
        ).records
        note = "short batches count as whole ones: the mean over images is"
        assert (note in record["metrics"]["psnr"]["note"]) is told


def test_what_a_file_prints_when_it_is_read_and_makes_a_model_is_no_part_of_a_document(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    code = MODEL.format(card="", load="pass", encode="pass", decode="pass")
    made = "def __init__(self):\n        print('made')\n    def load"
    theirs = tmp_path / "theirs.py"
    theirs.write_text("print('read')\n" + code.replace("def load", made), encoding="utf-8")
    for words in (("list", "models"), ("show", "theirs?")):
        done = uwt_eval(*words, "--plugin", theirs, "--json")
        assert done.code == 0, done.err
        json.loads(done.out)
        assert "read" in done.err
    assert "made" in done.err
