"""What a CUDA device must agree with: the CPU, itself at another time, and the released modules."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from benchmarks.pipeline import pictures
from benchmarks.random_weights import random_inception_state_dict, random_trunk_state_dict
from harness.data.images import to_float, to_uint8
from harness.data.store import Store
from harness.engine import work
from harness.engine.items import Beside
from harness.engine.plan import make_plan
from harness.engine.progress import Progress
from harness.engine.runner import run
from harness.engine.world import World, reproducible, resolve_device
from harness.interfaces import RunRequest
from harness.metrics.extractors import Inception, LpipsDistance
from harness.metrics.inception import INPUT_RULES, InceptionFeatures
from harness.metrics.lpips import Lpips
from tests.conftest import CommandLine
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

pytestmark = pytest.mark.gpu

DEVICE = "cuda"

TINY = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=2, heads=4)
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    UniWeTok(TINY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [(64, 64), (128, 320), (250, 300)])
def test_tokenizer_agrees_with_the_cpu(size: tuple[int, int], checkpoint: Path) -> None:
    cpu = UniWeTok.from_pretrained(checkpoint)
    gpu = UniWeTok.from_pretrained(checkpoint).to("cuda")
    torch.backends.cudnn.allow_tf32 = False
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(
        gpu.latents(images.cuda()).cpu(), cpu.latents(images), rtol=1e-4, atol=1e-4
    )
    codes = cpu.encode(images)
    noise = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    again = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    expected = cpu.decode(codes, generator=noise, size=size)
    decoded = gpu.decode(codes.cuda(), generator=again, size=size).cpu()
    assert (decoded - expected).norm() / expected.norm() < 1e-4


def test_metric_networks_agree_with_the_cpu() -> None:
    images = torch.randint(0, 256, (8, 3, 256, 256), dtype=torch.uint8)
    state = random_inception_state_dict(0)
    rule = INPUT_RULES["adm"]
    features = [
        InceptionFeatures(state, *rule, outputs=("pool3",), device=device)(images)["pool3"].cpu()
        for device in ("cpu", "cuda")
    ]
    assert (features[0] - features[1]).norm() / features[0].norm() < 1e-5
    floats = images.float() / 127.5 - 1
    trunk = random_trunk_state_dict("alex", 0)
    distances = [Lpips("alex", trunk, device)(floats, -floats).cpu() for device in ("cpu", "cuda")]
    torch.testing.assert_close(distances[0], distances[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("protocol", INPUT_RULES)
def test_images_prepared_together_have_the_bits_of_each_alone(protocol: str) -> None:
    state, rule = random_inception_state_dict(0), INPUT_RULES[protocol]
    network = InceptionFeatures(state, *rule, device=DEVICE)
    images = torch.randint(0, 256, (5, 3, 90, 120), dtype=torch.uint8)
    given = images.float() / 255 if rule.scaling == "unit" else images
    alone = torch.cat([network.prepare(image) for image in given.split(1)])
    assert torch.equal(network.prepare(given), alone)


def test_run_on_the_gpu_repeats_itself(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, checkpoint: Path
) -> None:
    records = []
    for name in ("first", "second"):
        result = uwt_eval(
            "run", "imagenet-recon", "--data", photo_folder, "-m", f"uniwetok:{checkpoint}",
            "--device", "cuda", "--out", tmp_path / name, "--json",
        )  # fmt: skip
        assert result.code == 0, result.err
        (record,) = result.records
        assert "gpu" in record.pop("provenance")["machine"]
        records.append(record)
    assert records[0] == records[1]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_two_gpus_give_the_record_of_one(
    tmp_path: Path, photo_folder: Path, checkpoint: Path
) -> None:
    records = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(processes), "-m", "uwt_eval", "run", "imagenet-recon"),
                *("--data", str(photo_folder), "-m", f"uniwetok:{checkpoint}", "--out", str(out)),
            ],
            check=True,
            cwd=REPOSITORY,
        )
        (path,) = out.glob("*/record.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        record.pop("provenance")
        records.append(record)
    assert records[0] == records[1]


def test_copies_through_pinned_memory_are_exact() -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3), dtype=np.uint8)
    floats = to_float(images, "cuda")
    assert torch.equal(floats.cpu(), to_float(images))
    for rule in ("round", "truncate", "half-up"):
        assert np.array_equal(to_uint8(floats, rule), to_uint8(floats.cpu(), rule))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.usefixtures("provide_weights")
def test_networks_beside_the_model_give_the_bits_of_those_in_turn(
    precision: str, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every code and observation of a run with LPIPS and Inception on a stream of their own."""
    pictures(tmp_path / "data", 256)
    rows = {}
    for name, lanes in (("beside", 8), ("in turn", 1)):
        if name == "in turn":
            monkeypatch.setattr(LpipsDistance, "beside_model", False)
            monkeypatch.setattr(Inception, "beside_model", False)
            monkeypatch.setattr(work, "Beside", lambda _: Beside("cpu"))
        asked = RunRequest(
            task="imagenet-recon",
            model=f"uniwetok:{checkpoint}",
            model_precision=precision,
            data=str(tmp_path / "data"),
            device=DEVICE,
            batch_size=16,
            metrics=("psnr", "lpips_alex", "lpips_vgg", "rfid"),
            small_sets=True,
            out=tmp_path / name,
        )
        monkeypatch.setenv("UWT_EVAL_CACHE", str(tmp_path / f"cache of {name}"))
        plan = make_plan(asked, World())
        plan = replace(plan, device=resolve_device(DEVICE, World()))
        plan.root.mkdir(parents=True)
        with reproducible(plan.device):
            work.Worker(plan, Store(plan.root), World(), lanes).run(lambda _: None)
        parts = {path: pq.read_table(path) for path in plan.root.rglob("*.parquet")}
        rows[name] = {
            path.relative_to(plan.root): table.select(sorted({*table.column_names} - {"seconds"}))
            for path, table in parts.items()
        }
    assert len(rows["beside"]) >= 5
    assert rows["beside"] == rows["in turn"]


def test_auto_finds_a_batch_that_fits(tmp_path: Path, checkpoint: Path) -> None:
    pictures(tmp_path / "data", 256)
    asked = RunRequest(
        task="imagenet-recon",
        model=f"uniwetok:{checkpoint}",
        data=str(tmp_path / "data"),
        device=DEVICE,
        batch_size="auto",
        metrics=("psnr",),
        out=tmp_path / "runs",
    )
    finished = run(asked, World(), Progress(Console(), quiet=True))
    assert finished is not None
    found = finished.record.provenance
    assert found["memory"].startswith(f"--batch-size auto: batches of {found['batch_size']}, ")
