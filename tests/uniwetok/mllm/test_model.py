from __future__ import annotations

import copy

import pytest
import torch
import transformers.integrations.flex_attention
from torch.nn.attention.flex_attention import flex_attention

from tests.uniwetok.mllm import toys
from uniwetok.mllm import MLLM, Batch, MLLMError, Turn, collate
from uniwetok.mllm.segments import conversation


@pytest.fixture(scope="module", params=[1, 4])
def assistant(request):
    return toys.assistant(request.param)


def samples(builder):
    turns = [Turn("user", [toys.codes(2, 2, 3), "What?"]), Turn("assistant", ["A red square."])]
    return [
        builder.editing([], "A red square 红色", toys.codes(4, 2)),
        builder.editing([toys.codes(2, 4, 1)], "Make it blue", toys.codes(2, 4, 2)),
        builder.build(conversation(turns)),
    ]


def losses_and_gradients(model: MLLM, batch: Batch):
    model.zero_grad()
    out = model(batch, torch.Generator().manual_seed(0))
    (30 * out["text"] + out["vision"]).backward()
    gradients = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    return {name: value.detach() for name, value in out.items()}, gradients


@pytest.mark.parametrize("padding", ["left", "right"])
def test_packing_changes_neither_losses_nor_gradients(assistant, padding):
    """In float64, as rounding grows large where weights are this random."""
    sequences = samples(assistant.builder)
    model = copy.deepcopy(assistant.model).double()
    packed = collate([sequences], length=200)
    alone = collate([[each] for each in sequences], padding=padding)
    losses, gradients = losses_and_gradients(model, packed)
    others, other_gradients = losses_and_gradients(model, alone)
    for name, value in losses.items():
        assert torch.allclose(value, others[name], atol=1e-5), name
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        assert (gradient - other_gradients[name]).abs().max() < 1e-5, name


def test_samples_of_a_row_do_not_see_each_other(assistant):
    one, *others = samples(assistant.builder)
    another = assistant.builder.editing([], "Green circle 一个", -toys.codes(4, 2))
    outputs = [assistant.model.outputs(collate([[before, *others]])) for before in (one, another)]
    drawn = 8 // assistant.model.config.parallel_tokens
    assert torch.allclose(outputs[0].text_logits, outputs[1].text_logits, atol=1e-5)
    first, second = (output.conditions for output in outputs)
    assert torch.allclose(first[drawn:], second[drawn:], atol=1e-5)
    assert not torch.allclose(first[:drawn], second[:drawn], atol=1e-2)


@torch.no_grad()
def test_a_step_depends_on_the_steps_before_alone(assistant):
    """Which conditions change where a token changes: those of later steps, and no other."""
    patch = assistant.model.config.parallel_tokens
    sequence = assistant.builder.editing([], "A", toys.codes(4, 4))
    batch = collate([[sequence]])
    before = assistant.model.outputs(batch).conditions
    for place in (0, 5, 10):
        codes = batch.codes.clone()
        codes[place] *= -1
        after = assistant.model.outputs(batch, codes).conditions
        changed = (before != after).flatten(1).any(1)
        assert changed.tolist() == [step > place // patch for step in range(16 // patch)]


@torch.no_grad()
def test_tokens_of_a_step_see_each_other():
    assistant = toys.assistant(4)
    sequence = assistant.builder.editing([], "A", toys.codes(2, 4))
    batch = collate([[sequence]])
    before = assistant.model.outputs(batch).conditions
    codes = batch.codes.clone()
    codes[3] *= -1
    after = assistant.model.outputs(batch, codes).conditions
    assert (before[1] != after[1]).any(-1).all()


def test_targets_are_the_tokens_and_the_text(assistant):
    batch = collate([samples(assistant.builder)])
    output = assistant.model.outputs(batch)
    patch = assistant.model.config.parallel_tokens
    assert torch.equal(output.image_targets.flatten(0, 1), batch.codes[batch.generated])
    assert output.conditions.shape == (16 // patch, patch, 32)
    assert assistant.text.decode(output.text_targets) == "A red square.<|im_end|>"
    assert output.text_logits.shape == (len(output.text_targets), len(assistant.text))


def test_every_weight_has_a_gradient_where_a_batch_has_text_alone(assistant):
    turns = [Turn("user", ["Hello"]), Turn("assistant", ["A"])]
    batch = collate([[assistant.builder.build(conversation(turns))]])
    out, gradients = losses_and_gradients(assistant.model, batch)
    assert out["vision"] == 0
    assert out["text"] > 0
    assert out["vision_tokens"] == 0
    assert gradients.keys() == {name for name, _ in assistant.model.named_parameters()}


def test_bits_are_flipped_in_training_alone(assistant):
    model = assistant.model
    batch = collate([samples(assistant.builder)])
    steady = [model(batch, torch.Generator().manual_seed(5))["vision"] for _ in range(2)]
    assert steady[0] == steady[1]
    model.train()
    try:
        flipped = model(batch, torch.Generator().manual_seed(5))
    finally:
        model.eval()
    assert flipped["vision"] != steady[0]


def test_loss_repeats_meet_each_condition_again():
    twice = toys.assistant(1, loss_repeats=4).model
    builder = toys.assistant(1).builder
    batch = collate([[builder.editing([], "A", toys.codes(2, 2))]])
    out = twice(batch, torch.Generator().manual_seed(0))
    assert out["vision_tokens"] == 4
    assert out["total"] == out["vision"]


def test_eager_attention_gives_the_same(assistant):
    batch = collate([samples(assistant.builder)])
    expected = assistant.model.outputs(batch).conditions
    language_model = toys.language_model()
    language_model.resize_token_embeddings(len(assistant.text))
    language_model.set_attn_implementation("eager")
    eager = MLLM(language_model, assistant.model.config).eval()
    eager.load_state_dict(assistant.model.state_dict())
    assert (eager.outputs(batch).conditions - expected).abs().max() < 1e-5


def test_a_language_model_of_another_width_or_attention_is_refused():
    with pytest.raises(MLLMError, match="is 32 wide, the configuration says width=64"):
        MLLM(toys.language_model(), toys.config(width=64))
    other = toys.language_model()
    other.config._attn_implementation = "flash_attention_2"
    with pytest.raises(MLLMError, match="takes no mask"):
        MLLM(other, toys.config())


def test_rows_that_do_not_fit_are_refused(assistant):
    sequences = samples(assistant.builder)
    total = sum(len(each) for each in sequences)
    assert collate([sequences], length=total).tokens == total
    with pytest.raises(MLLMError, match=f"a row of {total} tokens is above the limit"):
        collate([sequences], length=total - 1)
    with pytest.raises(MLLMError, match="needs rows"):
        collate([[]])


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@torch.no_grad()
def test_flex_attention_gives_the_same(assistant, monkeypatch):
    """Not compiled, as compiling needs a GPU or a compiler; the mask in blocks is the same."""
    flex = transformers.integrations.flex_attention
    monkeypatch.setattr(flex, "compile_friendly_flex_attention", uncompiled)
    sequences = samples(assistant.builder)
    batch = collate([sequences, sequences[:1]])
    language_model = toys.language_model()
    language_model.resize_token_embeddings(len(assistant.text))
    language_model.set_attn_implementation("flex_attention")
    flexible = MLLM(language_model, assistant.model.config).eval()
    flexible.load_state_dict(assistant.model.state_dict())
    expected = assistant.model.outputs(batch).conditions
    assert (flexible.outputs(batch).conditions - expected).abs().max() < 1e-5
    with pytest.raises(MLLMError, match="flex_attention is for training"):
        flexible.run(flexible.embed(batch), batch.positions, batch.seen())


def uncompiled(query, key, value, training=False, **options):
    return flex_attention(query, key, value, **options)
