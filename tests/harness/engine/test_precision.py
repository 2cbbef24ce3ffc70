"""What a model computes in is the protocol's choice; all else stays in strict float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.store import Store
from harness.engine.plan import make_plan, resolve
from harness.engine.protocols import in_precision
from harness.engine.work import Worker
from harness.engine.world import World, model_arithmetic
from harness.interfaces import RunRequest
from harness.interfaces.errors import UserError
from harness.interfaces.registry import TASKS
from harness.interfaces.types import Stage
from harness.metrics.extractors import Pixels
from tests.harness.toys import Control, ToyTokenizer, request


def product() -> torch.dtype:
    """The dtype of a product of float32 matrices here and now."""
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (None, torch.float32),
        ("fp32", torch.float32),
        ("tf32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ],
)
def test_the_model_alone_computes_in_it(
    precision: str | None,
    dtype: torch.dtype,
    tiles: Path,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, set[torch.dtype]] = {"model": set(), "metrics": set()}
    control.before_encode = control.before_decode = lambda _: seen["model"].add(product())
    observe: Any = Pixels.observe
    monkeypatch.setattr(
        Pixels, "observe", lambda *given: (seen["metrics"].add(product()), observe(*given))[1]
    )
    plan = make_plan(request(tiles, metrics=("psnr",), model_precision=precision), World())
    plan.root.mkdir(parents=True)
    Worker(plan, Store(plan.root), World(), lanes=2).run(lambda _: None)
    assert seen == {"model": {dtype}, "metrics": {torch.float32}}


def test_a_model_that_computes_elsewhere_is_left_alone(
    tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyTokenizer, "works_on", "cpu", raising=False)
    plan = make_plan(request(tiles, model_precision="bf16"), World())
    assert plan.model_precision == "fp32"


def test_another_precision_is_another_protocol_from_generating_on() -> None:
    """What the protocol itself says is no other; only a name that tells it apart is given."""
    by_name = {
        precision: resolve(
            RunRequest(task="imagenet-recon", model="webp", model_precision=precision)
        )[3]
        for precision in (None, "tf32", "bf16")
    }
    plain, same, half = by_name.values()
    assert plain == same
    assert (plain.name, half.name) == ("wetok", "wetok-bf16")
    assert all(plain.digests[stage] != half.digests[stage] for stage in Stage)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="--model-precision int8: cannot be 'int8'"):
        resolve(RunRequest(task="imagenet-recon", model="webp", model_precision="int8"))
    pope = TASKS.get("pope")
    with pytest.raises(UserError, match="task 'pope' leaves it to the model"):
        in_precision(pope.protocol("lmms"), "bf16", pope.spec)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
def test_tf32_is_on_for_as_long_as_the_model_works(precision: Any, allowed: bool) -> None:
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [each.allow_tf32 for each in flags]
    try:
        for each in flags:
            each.allow_tf32 = False
        with model_arithmetic("cuda:0", precision):
            assert [each.allow_tf32 for each in flags] == [allowed, allowed]
        assert [each.allow_tf32 for each in flags] == [False, False]
    finally:
        for each, value in zip(flags, before, strict=True):
            each.allow_tf32 = value
