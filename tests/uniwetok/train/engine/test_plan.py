"""What a run will take, against known sizes and against real passes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch.torch_version import TorchVersion

from tests.conftest import REPOSITORY
from tests.uniwetok.train.tiny import needs_measuring
from uniwetok import presets
from uniwetok.losses.config import DistillationConfig, PriorConfig, TokenizerLossConfig
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train import TrainingError
from uniwetok.train.data.config import DataConfig
from uniwetok.train.data.schedule import Schedule
from uniwetok.train.engine.footprint import Footprint, count_flops, kept_bytes
from uniwetok.train.engine.machine import H100
from uniwetok.train.engine.plan import Plan, make_plan
from uniwetok.train.engine.state import run_again
from uniwetok.train.tokenizer.config import LITE_TEACHER, TokenizerTraining
from uniwetok.train.tokenizer.networks import Generator
from uniwetok.train.tokenizer.plan import measure

pytestmark = needs_measuring
measured = functools.cache(measure)
ALONE = TokenizerLossConfig(lpips_weight=0, adversarial=None, distillation=None)
TINY = TokenizerTraining(
    model=UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=1, heads=4),
    loss=replace(ALONE, adversarial=TokenizerLossConfig().adversarial),
    prior=PriorConfig(width=64, heads=1, layers=1, diffusion_width=64, diffusion_blocks=1),
    data=DataConfig(resolution=64),
    batch_size=64,
    steps=1000,
    precision="bfloat16",
)


@pytest.fixture(scope="module")
def footprint() -> Footprint:
    return measured(TINY)


@pytest.fixture
def tiny(footprint: Footprint) -> Plan:
    return make_plan(TINY, footprint, 4)


def attention_flops(batch: int, length: int, width: int) -> int:
    """Q K^T and P V, a multiplication with its addition as two."""
    return 2 * 2 * batch * length**2 * width


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted_by_its_formula(device: str, masked: bool) -> None:
    """Whatever fused kernel torch would take here, and whether its counter knows that."""
    shape = (2, 4, 68, 32)
    query, key, value = (torch.randn(shape, device=device, requires_grad=True) for _ in range(3))
    mask = torch.ones(68, 68, dtype=torch.bool, device=device) if masked else None
    outputs: list[torch.Tensor] = []

    def attend() -> None:
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
        outputs.append(attended.sum())

    forward = count_flops(attend)
    assert forward == attention_flops(2, 68, 4 * 32)
    assert count_flops(lambda: torch.autograd.backward(outputs.pop())) == 2 * forward


def test_attention_is_counted_alike_on_a_processor_without_vectors() -> None:
    code = (
        "import torch; from uniwetok.train.engine.footprint import count_flops\n"
        "shape, attend = (2, 4, 68, 32), torch.nn.functional.scaled_dot_product_attention\n"
        "print(count_flops(lambda: attend(*(torch.randn(shape) for _ in range(3)))))"
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == attention_flops(2, 68, 4 * 32)


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_work_does_not_depend_on_the_processor(footprint: Footprint, capability: str) -> None:
    code = (
        "import json; from tests.uniwetok.train.engine.test_plan import TINY, measure\n"
        "print(json.dumps(measure(TINY).flops))"
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == footprint.flops


def test_the_papers_size_and_work() -> None:
    """Against the released autoencoder: 168.5 and 226.0 GFLOP but for the attention's products."""
    footprint = measured(
        replace(presets.get("table16").config, loss=ALONE, prior=None, precision="bfloat16")
    )
    assert footprint.parameters == {"encoder": 265_729_664, "decoder": 355_896_451}
    assert footprint.averaged == footprint.trained["generator"] == 621_626_115
    forward = footprint.flops["tokenizer and losses, forward"]
    attention = 32 * attention_flops(1, 64 + 4, 1024)
    assert forward == pytest.approx((168.5 + 226.0) * 1e9 + attention, rel=3e-4)
    backward = footprint.flops["tokenizer and losses, backward"]
    assert backward == pytest.approx(2 * forward, rel=0.01)
    halves = 2 * sum(footprint.parameters.values())
    assert footprint.copy_bytes == pytest.approx(halves, rel=0.01)


@pytest.mark.slow
def test_every_network_of_the_full_method_is_counted() -> None:
    config = replace(presets.get("table16").config, precision="bfloat16")
    plan = make_plan(config, measured(config), 8)
    assert plan.parameters["discriminator"] == 2_765_633
    assert plan.parameters["prior"] == pytest.approx(8.607e6, rel=1e-4)
    assert plan.parameters["distillation heads"] == 2 * (128 * 1152 + 1152)
    assert plan.parameters["teacher (frozen)"] == pytest.approx(428e6, rel=1e-2)
    assert plan.epochs["ImageNet"] == pytest.approx(25.0, abs=0.01)
    assert plan.tokens_per_step == 128 * 64
    assert {"discriminator", "teacher"} <= plan.flops.keys()


def run_once(generator: Generator) -> None:
    images, noise = torch.randn(2, 3, 64, 64), torch.randn(2, 128, 2, 2)
    generator(images, noise, None, None, torch.Generator())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_are_those_of_a_real_pass(precision: str) -> None:
    """In float32 what autograd keeps on a CPU is the same, but for the attention's own notes."""
    config = replace(TINY, precision=precision, loss=ALONE, prior=None)
    footprint = measured(config)
    generator = Generator(config, None, None)
    own = {weight.untyped_storage().data_ptr() for weight in generator.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> None:  # A tensor kept for its own node is never freed.
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda _: None):
        run_once(generator)
    real = sum(storage.nbytes() for address, storage in kept.items() if address not in own)
    ours = footprint.copy_bytes + 2 * footprint.activations["activations"]
    if precision == "float32":
        assert ours == pytest.approx(real, rel=0.02)
    else:
        assert real / 4 < footprint.activations["activations"] < 0.9 * real / 2


def test_blocks_that_are_run_again_keep_their_inputs_and_work_twice() -> None:
    """Against a real pass in float32: what it keeps, beside the most that a block keeps at work."""
    kept = replace(TINY, precision="float32", loss=ALONE, prior=None)
    config = replace(kept, gradient_checkpointing=True)
    before, after = measured(kept), measured(config)
    generator = Generator(config, None, None)
    run_again(generator.blocks())
    real = kept_bytes([generator], "float32", lambda: run_once(generator))
    inputs, block = after.activations.values()
    assert after.copy_bytes + 2 * inputs == pytest.approx(real, rel=0.02)
    assert before.activations["activations"] > 1.5 * (inputs + block)
    assert 0 < block < inputs
    forward, backward = before.flops.values()
    assert after.flops["tokenizer and losses, forward"] == forward
    again = after.flops["tokenizer and losses, backward"] - backward
    # Without the convolutions at the ends and between levels, most of the work at this size.
    assert 0.3 * forward < again < forward


def test_data_is_counted(tiny: Plan) -> None:
    assert tiny.examples_per_pass == 16
    assert tiny.tokens_per_step == 64 * 4
    assert tiny.tokens == 64 * 4 * 1000
    assert tiny.examples_seen == 64_000
    assert tiny.epochs["ImageNet"] == 64_000 / 1_281_167


def test_memory_adds_up(tiny: Plan) -> None:
    parameters = sum(tiny.parameters.values())
    assert tiny.memory["weights"] == 4 * parameters
    assert tiny.memory["gradients"] == tiny.memory["gradients in transit"] == 4 * parameters
    assert tiny.memory["Adam"] == 8 * parameters
    assert tiny.memory["moving average"] == 4 * (
        parameters - tiny.parameters["prior"] - tiny.parameters["discriminator"]
    )
    assert tiny.memory["frozen networks"] == 0
    assert tiny.memory_total == sum(tiny.memory.values()) + sum(tiny.activations.values())


def test_processes_and_accumulation_share_the_batch_but_not_the_weights(
    tiny: Plan, footprint: Footprint
) -> None:
    alone = make_plan(TINY, footprint)
    accumulated = make_plan(replace(TINY, accumulation=4), footprint)
    assert alone.examples_per_pass == 64
    assert sum(alone.activations.values()) > 3 * sum(tiny.activations.values())
    assert accumulated.activations == tiny.activations
    assert "gradients in transit" not in alone.memory
    assert alone.flops == tiny.flops == accumulated.flops
    assert alone.hours == pytest.approx(4 * tiny.hours)


def test_sharding_divides_the_generator_alone(tiny: Plan, footprint: Footprint) -> None:
    sharded = make_plan(replace(TINY, shard=True), footprint, 4)
    judge = tiny.parameters["discriminator"]
    whole = sum(tiny.parameters.values()) - judge
    assert sharded.memory["weights"] == 4 * (whole // 4 + judge)
    assert sharded.memory["moving average"] == pytest.approx(tiny.memory["moving average"] / 4)
    assert "gradients in transit" not in sharded.memory
    gathered = sharded.memory["gathered weights and gradients"]
    assert 0 < gathered < 0.6 * 8 * whole, "all of them, and all their gradients"


def test_a_cnn_trains_no_register_tokens() -> None:
    cnn = replace(TINY, model=replace(TINY.model, attention_blocks=0), loss=ALONE, prior=None)
    footprint = measured(cnn)
    dead = 2 * cnn.model.register_tokens * cnn.model.width
    assert footprint.trained["generator"] == sum(footprint.parameters.values()) - dead


def test_time_is_measured_or_says_what_it_assumes(tiny: Plan, footprint: Footprint) -> None:
    timed = make_plan(TINY, footprint, 4, seconds_per_step=1.8)
    assert timed.hours == 0.5
    assert timed.basis == "as measured"
    assert "30% of its maker's 989 TFLOP/s; not measured" in tiny.basis
    work = sum(tiny.flops.values())
    assert tiny.seconds_per_step == pytest.approx(work / (H100.half_flops * 0.3 * 4))
    full = replace(TINY, precision="float32")
    single = make_plan(full, footprint, 4, utilisation=0.5)
    assert single.seconds_per_step == pytest.approx(work / (H100.single_flops * 0.5 * 4))


def test_the_small_teacher_is_counted() -> None:
    pytest.importorskip("timm")
    lite = replace(ALONE, distillation=DistillationConfig())
    config = replace(TINY, loss=lite, teacher=LITE_TEACHER)
    plan = make_plan(config, measured(config))
    assert plan.parameters["teacher (frozen)"] == pytest.approx(3.37e6, rel=0.01)
    assert plan.parameters["distillation heads"] == 2 * (128 * 1280 + 1280)
    assert plan.memory["frozen networks"] == 4 * plan.parameters["teacher (frozen)"]


def test_unknown_teacher_is_named() -> None:
    config = replace(TINY, loss=replace(ALONE, distillation=DistillationConfig()), teacher="vit-x")
    with pytest.raises(TrainingError, match=r"teacher=vit-x: open_clip knows no such model"):
        measured(config)


def test_table_and_json_say_the_same(tiny: Plan) -> None:
    facts = json.loads(json.dumps(tiny.to_dict()))
    assert facts["flops_per_step"] == sum(tiny.flops.values())
    assert facts["memory_total_estimate"] == tiny.memory_total
    assert facts["gpu_hours"] == 4 * tiny.hours
    console = Console(width=120, record=True)
    console.print(tiny.table("tiny"))
    text = console.export_text()
    assert "plan of tiny on 4 x H100 SXM" in text
    assert f"{tiny.memory_total / 2**30:.2f} GiB" in text
    assert "not measured" in text
    assert "estimate" in text


def test_too_much_for_the_gpu_is_said(tiny: Plan, footprint: Footprint) -> None:
    small = replace(H100, name="toy GPU", memory=tiny.memory_total - 1)
    for plan, said in ((tiny, False), (make_plan(TINY, footprint, 4, processor=small), True)):
        console = Console(width=160, record=True)
        console.print(plan.table("tiny"))
        text = console.export_text()
        assert ("0.00 GiB more than toy GPU has" in text) is said
        assert ("fits with" in text) is ("takes less with" in text) is said


@pytest.mark.parametrize("world", [1, 4])
def test_each_of_the_changes_makes_it_fit(footprint: Footprint, world: int) -> None:
    """And the next smaller one would not."""
    plan = make_plan(TINY, footprint, world)
    room = sum(plan.memory.values()) + 0.3 * sum(plan.activations.values())
    small = replace(H100, memory=int(room))

    def fits(config: TokenizerTraining, processes: int) -> bool:
        made = make_plan(config, footprint, processes, processor=small)
        return bool(made.to_dict()["fits_estimate"])

    found = make_plan(TINY, footprint, world, processor=small).fits_with
    counts = dict(each.split("=") for each in found if "GPUs" not in each)
    passes, batch = int(counts["accumulation"]), int(counts["batch_size"])
    assert fits(replace(TINY, accumulation=passes), world)
    assert not fits(replace(TINY, accumulation=passes // 2), world)
    assert fits(replace(TINY, batch_size=batch), world)
    assert not fits(replace(TINY, batch_size=batch + world), world)
    (gpus,) = (int(each.split()[0]) for each in found if "GPUs" in each)
    assert fits(TINY, gpus)
    assert not fits(TINY, gpus // 2)


def test_of_several_sizes_the_largest_has_to_fit(footprint: Footprint) -> None:
    """One image of twice the side cannot be cut into passes, whatever ``accumulation`` says."""
    config = replace(TINY, data=replace(TINY.data, buckets=((64, 64), (128, 128))))
    several = measured(config)
    plan = make_plan(config, several, 4)
    one = sum(several.activations.values())
    room = sum(plan.memory.values()) + several.copy_bytes + 3 * one
    small = replace(H100, memory=room)
    found = make_plan(config, several, 4, processor=small).fits_with
    assert not [each for each in found if each.startswith("accumulation")]
    assert "accumulation=8" in make_plan(TINY, footprint, 4, processor=small).fits_with


def test_planning_leaves_autocast_as_it_was(tiny: Plan) -> None:
    assert not torch.is_autocast_enabled("cuda")
    assert torch.get_autocast_dtype("cuda") == torch.float16


def test_a_torch_that_needs_a_gpu_to_measure_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.6.0+cu124"))
    with pytest.raises(TrainingError, match=r"torch 2\.6\.0.* with torch 2\.10 or later"):
        measure(TINY)


def test_a_network_with_a_size_of_its_own_counts_images(footprint: Footprint) -> None:
    """A larger image is more pixels to all others; a step has as many pixels and fewer images."""
    data = DataConfig(resolution=64, buckets=((64, 64), (128, 128)))
    several = replace(
        footprint,
        flops={"network": 10, "teacher": 1000},
        resized=("teacher",),
        schedule=lambda batch, world: Schedule(data, batch_size=batch, seed=0, world=world),
    )
    plan = make_plan(TINY, several, 4)
    images = plan.examples_seen / TINY.steps
    assert images < TINY.batch_size
    assert plan.flops == {"network": 10 * TINY.batch_size, "teacher": round(1000 * images)}
