from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from uniwetok.losses import EntropyConfig, numerics
from uniwetok.losses.entropy import codebook_entropy, entropy_loss, token_entropy
from uniwetok.tokenizer.quantizer import quantize

BITS = 8
TEMPERATURE = 0.01
TOKEN, CODEBOOK, PER_GROUP = 2.368027808, 4.387600869, 4.169994576


def latents(
    batch: int = 3, groups: int = 4, side: int = 3, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Latents small enough for undecided bits, from a formula."""
    shape = (batch, groups * BITS, side, side)
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return (0.01 * torch.sin(steps * 1.3 + 5 * steps.sqrt())).to(dtype).view(shape)


def all_codes(x: Tensor, groups: int) -> Tensor:
    """The released log-softmax over 256 codes: (batch, positions, groups, 256)."""
    numbers = torch.arange(2**BITS)
    codes = ((numbers[:, None] >> torch.arange(BITS)) & 1).to(x.dtype) * 2 - 1
    groupwise = x.flatten(2).mT.reshape(x.shape[0], -1, groups, BITS)
    return (2 * groupwise @ codes.T / TEMPERATURE).log_softmax(-1)


def listed_token_entropy(x: Tensor, groups: int) -> Tensor:
    log_probabilities = all_codes(x, groups)
    return -(log_probabilities.exp() * log_probabilities).sum(-1).mean()


def listed_codebook_entropy(x: Tensor, groups: int, scope: str) -> Tensor:
    mean = all_codes(x, groups).exp().mean((0, 1, 2) if scope == "pooled" else (0, 1))
    return -(mean * (mean + 1e-5).log()).sum(-1).mean()


def value_and_gradient(function: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = function(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


@pytest.fixture(params=[1, 1 << 20], ids=["many pieces", "one piece"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "CHUNK_ELEMENTS", request.param)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_token_entropy_equals_that_over_all_codes(scale):
    x = latents() * scale
    value, gradient = value_and_gradient(lambda x: token_entropy(x, 4), x)
    wanted, wanted_gradient = value_and_gradient(lambda x: listed_token_entropy(x, 4), x)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("scope", ["pooled", "per_group"])
def test_codebook_entropy_equals_that_over_all_codes(scope):
    value, gradient = value_and_gradient(lambda x: codebook_entropy(x, 4, scope=scope), latents())
    wanted, wanted_gradient = value_and_gradient(
        lambda x: listed_codebook_entropy(x, 4, scope), latents()
    )
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-9, atol=1e-12)


def test_numbers_of_a_known_good_state():
    """Computed over all 256 codes, by the form that agrees with the released module."""
    terms = entropy_loss(latents(), 4, EntropyConfig())
    assert terms.token.item() == pytest.approx(TOKEN, abs=1e-6)
    assert terms.codebook.item() == pytest.approx(CODEBOOK, abs=1e-6)
    assert terms.auxiliary.item() == pytest.approx(TOKEN - CODEBOOK, abs=1e-6)
    per_group = entropy_loss(latents(), 4, EntropyConfig(codebook_scope="per_group"))
    assert per_group.codebook.item() == pytest.approx(PER_GROUP, abs=1e-6)


def test_float32_is_within_1e6_of_the_form_over_all_codes():
    x = latents(batch=4, groups=16, side=8)
    assert token_entropy(x.float(), 16).item() == pytest.approx(
        listed_token_entropy(x, 16).item(), abs=1e-6
    )


def test_sum_reduction_is_the_papers_equation():
    assert token_entropy(latents(), 4, reduction="sum") / token_entropy(latents(), 4) == 4


def test_limits():
    decided, undecided = quantize(latents()), torch.zeros(2, 16, 2, 2)
    assert token_entropy(decided, 4).item() == pytest.approx(0, abs=1e-100)
    assert token_entropy(undecided, 2).item() == pytest.approx(BITS * math.log(2))
    assert codebook_entropy(undecided, 2).item() == pytest.approx(BITS * math.log(2), abs=3e-3)
    one_code = torch.ones(2, 16, 2, 2)
    assert codebook_entropy(one_code, 2).item() == pytest.approx(0, abs=2e-5)


def test_per_group_is_below_pooled_where_groups_differ():
    x = torch.cat([torch.ones(1, BITS, 2, 2), -torch.ones(1, BITS, 2, 2)], dim=1)
    assert codebook_entropy(x, 2).item() == pytest.approx(math.log(2), abs=1e-4)
    assert codebook_entropy(x, 2, scope="per_group").item() == pytest.approx(0, abs=1e-4)


def test_least_significant_bit_first():
    """A pooled histogram cannot tell the order of bits; the sums it is made of can."""
    from uniwetok.losses.entropy import _code_sums

    x = -torch.ones(1, 2 * BITS, 1, 1)
    x[0, [0, 15]] = 1
    assert _code_sums(x, 2, 400.0).argmax(1).tolist() == [1, 128]


@pytest.mark.parametrize("bits", [1, 3, 7])
def test_groups_of_other_sizes(bits):
    x = torch.zeros(2, 2 * bits, 2, 2, dtype=torch.float64)
    assert codebook_entropy(x, 2).item() == pytest.approx(bits * math.log(2), abs=2e-3)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("scope", ["pooled", "per_group"])
def test_gradients(scope):
    config = EntropyConfig(codebook_scope=scope)
    x = latents(batch=2, groups=2, side=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: entropy_loss(x, 2, config).auxiliary, x, eps=1e-8)


@pytest.mark.parametrize("layout", ["channels_last", "expanded"])
def test_any_memory_layout(layout):
    x = latents()
    y = (
        x.to(memory_format=torch.channels_last)
        if layout == "channels_last"
        else x[:1].expand(3, -1, -1, -1)
    )
    function = lambda z: entropy_loss(z, 4, EntropyConfig()).auxiliary  # noqa: E731
    value, gradient = value_and_gradient(function, y)
    wanted, wanted_gradient = value_and_gradient(function, y.contiguous())
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(gradient, wanted_gradient)


def test_bf16_autocast_computes_in_float32():
    x = latents(dtype=torch.float32).bfloat16()
    wanted, wanted_gradient = value_and_gradient(
        lambda x: entropy_loss(x, 4, EntropyConfig()).auxiliary, x.float()
    )
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(
            lambda x: entropy_loss(x, 4, EntropyConfig()).auxiliary, x
        )
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    assert value == wanted
    torch.testing.assert_close(gradient, wanted_gradient.bfloat16())


class LargestResult(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation newly makes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view:
            self.largest = max(self.largest, result.numel())
        return result


def elements(function: Any, x: Tensor) -> tuple[int, int]:
    """Elements of the largest result, and of all that is saved for the backward pass but x."""
    saved = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() != x.untyped_storage().data_ptr():
            saved.append(tensor.numel())
        return tensor

    with LargestResult() as mode, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        value = function(x)
    with mode:
        torch.autograd.grad(value, x)
    return mode.largest, sum(saved)


def test_memory_counted_in_elements():
    x = latents(batch=40, groups=16, side=8, dtype=torch.float32).requires_grad_()
    largest, saved = elements(lambda x: token_entropy(x, 16), x)
    listed_largest, listed_saved = elements(lambda x: listed_token_entropy(x, 16), x)
    assert largest == x.numel()
    assert listed_largest == 32 * x.numel()
    assert saved == 0
    assert listed_saved >= 32 * x.numel()
    assert elements(lambda x: codebook_entropy(x, 16), x)[0] == x.numel()


@pytest.mark.parametrize("function", [token_entropy, codebook_entropy])
def test_bad_input(function):
    with pytest.raises(ValueError, match="groups=5 does not divide the 32 channels"):
        function(latents(), 5)
    with pytest.raises(ValueError, match="floating"):
        function(latents().long(), 4)
    with pytest.raises(ValueError, match="positions"):
        function(torch.zeros(2, 16), 2)


def test_too_many_bits_for_a_histogram():
    with pytest.raises(ValueError, match=r"1 groups of 32 bits.*use more groups"):
        codebook_entropy(latents(), 1)
    assert token_entropy(latents(), 1).isfinite()


def _reduced(rank: int, folder: str) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    x = latents()[:1] if rank == 0 else latents()[1:]
    for scope in ("pooled", "per_group"):
        value, gradient = value_and_gradient(
            lambda x, scope=scope: codebook_entropy(
                x, 4, scope=scope, reduce_across_processes=True
            ),
            x,
        )
        torch.save((value, gradient), f"{folder}/{scope}{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path):
    """With batches of unequal size; gradients after the averaging of DistributedDataParallel."""
    torch.multiprocessing.spawn(_reduced, (str(tmp_path),), nprocs=2)
    for scope in ("pooled", "per_group"):
        wanted, wanted_gradient = value_and_gradient(
            lambda x, scope=scope: codebook_entropy(x, 4, scope=scope), latents()
        )
        parts = [torch.load(tmp_path / f"{scope}{rank}.pt", weights_only=True) for rank in (0, 1)]
        for value, _ in parts:
            torch.testing.assert_close(value, wanted)
        gradient = torch.cat([gradient for _, gradient in parts]) / 2
        torch.testing.assert_close(gradient, wanted_gradient)


def test_reduction_without_a_process_group_is_local():
    x = latents()
    assert codebook_entropy(x, 4, reduce_across_processes=True) == codebook_entropy(x, 4)
