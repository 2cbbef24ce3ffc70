"""Every family of other people's models, tiny: stopped and resumed, or by two processes, a run ends
in the bits of one process that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch import Tensor

from harness.engine.models import ModelChoice
from harness.interfaces import Code
from harness.interfaces.types import Status
from tests.conftest import CommandLine
from tests.harness.baselines.test_endpoints import drawn
from tests.harness.judges.endpoint import Endpoint, serving
from tests.tasks.gedit.conftest import Bench, bench
from tests.tasks.vqa.copies import ROWS, write_copies

__all__ = ["bench"]

TORCHRUN = ["-P", "-m", "torch.distributed.run", "--standalone", "--no-python"]
SCRIPT = str(Path(sys.executable).parent / "uwt-eval")
Options = dict[str, object]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Says yes, and draws colours."""
    monkeypatch.setenv("UWT_EVAL_MODEL_KEY", "any")
    endpoint = Endpoint(lambda text, images: "yes" if len(text) % 2 else "no")
    endpoint.draw = drawn
    with serving(endpoint):
        yield endpoint


def autoencoder(request: pytest.FixtureRequest, folder: Path) -> str:
    diffusers = pytest.importorskip("diffusers")
    from tests.harness.baselines.test_diffusers_vae import KL

    diffusers.AutoencoderKL(**KL).save_pretrained(folder)
    return str(folder)


def text_to_image(request: pytest.FixtureRequest, folder: Path) -> str:
    pytest.importorskip("diffusers")
    from tests.harness.baselines.test_diffusers_pipelines import stable_diffusion

    stable_diffusion("StableDiffusionPipeline", 4).save_pretrained(folder)
    return str(folder)


def editor(request: pytest.FixtureRequest, folder: Path) -> str:
    pytest.importorskip("diffusers")
    from tests.harness.baselines.test_diffusers_pipelines import stable_diffusion

    # GEdit shows it images of about 1024x1024 pixels.
    pipeline = stable_diffusion("StableDiffusionInstructPix2PixPipeline", 8, levels=7)
    pipeline.save_pretrained(folder)
    return str(folder)


def class_to_image(request: pytest.FixtureRequest, folder: Path) -> str:
    pytest.importorskip("diffusers")
    from tests.harness.baselines.test_diffusers_pipelines import diffusion_transformer

    diffusion_transformer().save_pretrained(folder)
    return str(folder)


def janus(request: pytest.FixtureRequest, folder: Path) -> str:
    from tests.harness.baselines.test_hf_janus import save

    return str(save(folder))


def llava(request: pytest.FixtureRequest, folder: Path) -> str:
    from tests.harness.baselines.test_hf_vlm import save

    return str(save(folder))


def wetok(request: pytest.FixtureRequest, folder: Path) -> str:
    from tests.uniwetok.plugins.test_relatives import wetok_checkpoint

    return str(wetok_checkpoint(folder / "compratio192" / "WeTok.ckpt"))


def bitdance(request: pytest.FixtureRequest, folder: Path) -> str:
    from tests.uniwetok.plugins.test_relatives import bitdance_folder

    return str(bitdance_folder(folder) / "ae_d32c128.safetensors")


def bitdance_classes(request: pytest.FixtureRequest, folder: Path) -> str:
    from tests.uniwetok.plugins.test_relatives import imagenet_folder

    return str(imagenet_folder(folder) / "BitDance_B_16x.pt")


def registered(request: pytest.FixtureRequest, folder: Path) -> str:
    pytest.importorskip("lmms_eval")
    return f"uwt?model=hf-vlm:{llava(request, folder)}"


def torchscript(request: pytest.FixtureRequest, folder: Path) -> str:
    from tests.harness.baselines.test_torchscript import Decoder, Encoder, pair

    folder.mkdir()
    return pair(folder, Encoder(), Decoder())


def served(request: pytest.FixtureRequest, folder: Path) -> str:
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    return f"tiny@{endpoint.url}"


@dataclass(frozen=True)
class Case:
    """A family, what makes a tiny model of it, and a task that it fits."""

    family: str
    make: Callable[[pytest.FixtureRequest, Path], str]
    options: str
    task: str

    def __str__(self) -> str:
        return f"{self.family}{self.options}"


NATIVE = "imagenet-recon-native"
DRAWING = [
    Case("diffusers-vae", autoencoder, "", NATIVE),
    Case("diffusers-vae", autoencoder, "?dtype=bfloat16&latents=sample", NATIVE),
    Case("diffusers-vae", autoencoder, "?dtype=float16&store=float32", NATIVE),
    Case("diffusers-t2i", text_to_image, "?steps=2&size=40x32&batch=3", "geneval"),
    Case("diffusers-t2i", text_to_image, "?steps=1&size=32&dtype=bfloat16", "geneval"),
    # Of large images; `openai-images` edits in its stead.
    pytest.param(Case("diffusers-edit", editor, "?steps=1", "gedit-en"), marks=pytest.mark.slow),
    Case("diffusers-class", class_to_image, "?steps=1", "imagenet-gen"),
    Case("diffusers-class", class_to_image, "?steps=1&dtype=bfloat16", "imagenet-gen"),
    Case("hf-janus", janus, "?dtype=float32", "geneval"),
    Case("wetok", wetok, "", NATIVE),
    Case("wetok", wetok, "?dtype=float16", NATIVE),
    Case("bitdance-tokenizer", bitdance, "", NATIVE),
    Case("bitdance-tokenizer", bitdance, "?dtype=bfloat16", NATIVE),
    Case("bitdance", bitdance_classes, "?cfg=2&steps=1", "imagenet-gen"),
    Case("torchscript", torchscript, "", NATIVE),
    Case("openai-images", served, "?size=40x24", "geneval"),
    Case("openai-images", served, "?seeds=false", "gedit-en"),
]
ANSWERING = [
    Case("hf-vlm", llava, "?dtype=float32", "pope"),
    Case("hf-vlm", llava, "?dtype=bfloat16", "pope"),
    Case("openai-chat", served, "", "pope"),
    Case("lmms", registered, "", "pope"),
]


def crops(request: pytest.FixtureRequest, folder: Path) -> Path:
    """Photos of five small sizes, odd ones among them."""
    folder.mkdir()
    for index, photo in enumerate(request.getfixturevalue("photos")[:5]):
        photo.crop((0, 0, 64 + 3 * index, 65 + 2 * index)).save(folder / f"{index}.png")
    return folder


@dataclass
class Command:
    """A command line, but for where it writes."""

    words: list[str]
    model: str

    def __call__(self, out: Path) -> list[str]:
        return [*self.words, "--out", str(out)]


@pytest.fixture
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Command:
    case: Case = request.param
    model = f"{case.family}:{case.make(request, tmp_path / 'model')}{case.options}"
    words = ["run", case.task, "--model", model, "--device", "cpu", "--quiet", "--json"]
    if case.task == NATIVE:
        words += ["--data", str(crops(request, tmp_path / "photos")), "--metrics", "psnr,bpp"]
    elif case.task == "gedit-en":
        bench: Bench = request.getfixturevalue("bench")
        words += ["--data", str(bench.data), "--protocol", str(bench.protocol), "--limit", "5"]
    elif case.task == "pope":
        write_copies(tmp_path / "copies")
        words += ["--data", str(tmp_path / "copies")]
    else:
        words += ["--limit", "5" if case.family == "hf-janus" else "6"]
    return Command(words, model)


def result_of(out: Path) -> tuple[Any, pd.DataFrame]:
    """The record of a run, and what the model made: payloads of images, or texts."""
    (path,) = out.glob("*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    names = ("run_id", "model_digest", "metrics", "n", "n_failed", "failures", "status")
    tables = [pd.read_parquet(part).drop(columns="seconds") for part in parts(out)]
    return {name: record[name] for name in names}, pd.concat(tables, ignore_index=True)


def parts(out: Path) -> list[Path]:
    return sorted(out.glob("*/outputs/[0-9]*.parquet"))


def same(found: Path, expected: Path) -> None:
    (record, table), (wanted, whole) = result_of(found), result_of(expected)
    assert wanted["n_failed"] == 0, whole["error"].tolist()
    assert (whole["status"] == Status.OK).all()
    assert record == wanted
    pd.testing.assert_frame_equal(table, whole, check_exact=True)


@pytest.mark.parametrize("command", DRAWING, indirect=True, ids=str)
def test_an_interrupted_run_goes_on_to_the_same_result(
    command: Command, tmp_path: Path, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = uwt_eval(*command(whole))
    assert done.code in {0, 3}, done.err
    kind, seen = type(ModelChoice.parse(command.model).build()), 0
    (record,) = done.records
    decode = kind.decode

    def stopping(self: Any, codes: Sequence[Code], seeds: Sequence[int]) -> Tensor:
        nonlocal seen
        seen += len(codes)
        if seen == record["n"] > 4:  # Every other picture is made: wait for a block on disk.
            for _ in range(6000):
                if parts(cut):
                    break
                time.sleep(0.01)
            raise KeyboardInterrupt
        return decode(self, codes, seeds)

    with monkeypatch.context() as context:
        context.setattr(kind, "decode", stopping)
        if record["n"] > 4:
            assert uwt_eval(*command(cut)).code == 130
            assert parts(cut)
            assert not list(cut.glob("*/record.json"))
    before = {path: path.stat().st_mtime_ns for path in parts(cut)}
    assert uwt_eval(*command(cut)).code == done.code
    assert before == {path: path.stat().st_mtime_ns for path in before}, "made again"
    same(cut, whole)


@pytest.mark.slow
@pytest.mark.parametrize("command", DRAWING, indirect=True, ids=str)
def test_two_processes_give_the_same_result(
    command: Command, tmp_path: Path, uwt_eval: CommandLine
) -> None:
    packages = tmp_path / "packages"
    environment = {**os.environ, "PYTHONPATH": str(packages)} if packages.exists() else None
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "--nproc-per-node", "2", SCRIPT, *command(tmp_path / "two")],
        check=False, capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    one = uwt_eval(*command(tmp_path / "one"))
    assert one.code in {0, 3}, one.err
    assert (done.returncode == 0) == (one.code == 0), done.stderr
    same(tmp_path / "two", tmp_path / "one")
    (record,) = (tmp_path / "two").glob("*/record.json")
    assert json.loads(record.read_text(encoding="utf-8"))["provenance"]["world_size"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("command", ANSWERING, indirect=True, ids=str)
def test_interrupted_answers_go_on_to_the_same_result(
    command: Command, tmp_path: Path, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lmms_eval")
    from tasks.vqa.process import EVALUATOR, Evaluator

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert uwt_eval(*command(whole)).code == 0
    carry_out = Evaluator.carry_out

    def stopping(self: Evaluator, job: Any, advance: Callable[[int, int], None], meet: Any) -> None:
        def told(done: int, total: int) -> None:
            if done >= len(ROWS["pope"]) // 2:
                raise KeyboardInterrupt

        carry_out(self, job, told, meet)

    with monkeypatch.context() as context:
        context.setattr(Evaluator, "carry_out", stopping)
        assert uwt_eval(*command(cut)).code == 130
    assert not list(cut.glob("*/record.json"))
    assert uwt_eval(*command(cut)).code == 0
    EVALUATOR.close()
    same(cut, whole)
