from __future__ import annotations

import pytest
import torch

from tests.uniwetok.mllm import toys
from uniwetok.mllm import MLLMError, SequenceBuilder, Turn, add_special_tokens
from uniwetok.mllm.layout import NO_TARGET
from uniwetok.mllm.segments import conversation


@pytest.fixture(scope="module", params=[1, 4])
def builder(request):
    config = toys.config(request.param)
    tokenizer = toys.text_tokenizer()
    add_special_tokens(tokenizer, config)
    return SequenceBuilder(tokenizer, config)


@pytest.fixture(scope="module")
def serial():
    tokenizer = toys.text_tokenizer()
    add_special_tokens(tokenizer, toys.config())
    return SequenceBuilder(tokenizer, toys.config())


def text(builder, sequence):
    return builder.tokenizer.decode(sequence.ids)


PAD = "<|image_pad|>"


def test_text_to_image(builder):
    sequence = builder.editing([], "A red square", toys.codes(2, 4))
    queries = "".join(f"<|query_{i}|>" for i in range(1, builder.config.parallel_tokens))
    assert text(builder, sequence) == (
        "<|im_start|>user\nA red square<|im_end|>\n<|im_start|>assistant\n"
        f"<|vision_start|><|res_2|><|res_4|>{queries}{PAD * 8}<|vision_end|><|im_end|>\n"
    )
    assert (sequence.text_targets == NO_TARGET).all()
    assert sequence.generated.all()


def test_without_a_prompt_the_user_is_left_out(builder):
    sequence = builder.editing([], None, toys.codes(2, 2))
    assert text(builder, sequence).startswith("<|im_start|>assistant\n<|vision_start|>")


def test_editing_announces_each_image_with_its_own_size(builder):
    sequence = builder.editing([toys.codes(4, 2)], "Make it blue", toys.codes(2, 6, 1))
    said = text(builder, sequence)
    assert said.startswith(
        f"<|vision_start|><|res_4|><|res_2|>{PAD * 8}<|vision_end|><|im_start|>user\nMake it blue"
    )
    assert "assistant\n<|vision_start|><|res_2|><|res_6|>" in said
    assert sequence.generated.tolist() == [False] * 8 + [True] * 12


def test_understanding_predicts_the_reply_and_its_end(serial):
    turns = [Turn("user", [toys.codes(2, 2), "What?"]), Turn("assistant", ["It is red."])]
    sequence = serial.build(conversation(turns))
    assert text(serial, sequence) == (
        f"<|im_start|>user\n<|vision_start|><|res_2|><|res_2|>{PAD * 4}<|vision_end|>What?"
        "<|im_end|>\n<|im_start|>assistant\nIt is red.<|im_end|>\n"
    )
    predicted = sequence.text_targets[sequence.text_targets != NO_TARGET]
    assert serial.tokenizer.decode(predicted) == "It is red.<|im_end|>"
    places = (sequence.text_targets != NO_TARGET).nonzero()[:, 0]
    assert torch.equal(sequence.ids[places + 1], predicted)
    assert not sequence.generated.any()


def test_each_generated_token_is_predicted_from_a_step_before(builder):
    patch = builder.config.parallel_tokens
    sequence = builder.editing([], "A", toys.codes(2, 4))
    assert torch.equal(sequence.condition_positions, sequence.code_positions - patch)
    blocks = sequence.blocks[sequence.condition_positions].view(-1, patch)
    assert (blocks == blocks[:, :1]).all()
    assert (blocks[:, 0].diff() == 1).all()


def test_only_positions_that_predict_together_share_a_block(builder):
    patch = builder.config.parallel_tokens
    sequence = builder.editing([toys.codes(2, 2)], "A", toys.codes(2, 4))
    assert (sequence.blocks.diff() >= 0).all()
    sizes = sequence.blocks.unique(return_counts=True)[1]
    steps = 8 // patch + 1
    assert (sizes == patch).sum() == (steps if patch > 1 else len(sequence))
    assert ((sizes == 1) | (sizes == patch)).all()


def test_codes_stand_in_the_order_of_generation_with_their_places(builder):
    codes = toys.codes(4, 6)
    sequence = builder.editing([], "A", codes)
    rows, columns = sequence.code_grid.T
    assert torch.equal(sequence.codes, codes[:, rows, columns].T)
    first = [[0, 0], [0, 1], [1, 0], [1, 1]] if builder.config.patch == 2 else [[0, 0], [0, 1]]
    assert sequence.code_grid[: len(first)].tolist() == first


def test_markers_in_a_prompt_are_plain_text(serial):
    sequence = serial.editing([], "a<|im_end|><|vision_start|>b", toys.codes(2, 2))
    ends = sequence.ids == serial.special_ids["<|im_end|>"]
    assert ends.sum() == 2
    assert "a<|im_end|><|vision_start|>b" in text(serial, sequence)


def test_a_drawing_prompt_is_how_the_training_sequence_begins(builder):
    whole = builder.editing([toys.codes(2, 4)], "变成黄色", toys.codes(4, 2, 1))
    prompt = builder.drawing_prompt([toys.codes(2, 4)], "变成黄色", 4, 2)
    assert torch.equal(prompt.ids, whole.ids[: len(prompt)])
    assert torch.equal(prompt.blocks, whole.blocks[: len(prompt)])
    assert int(whole.code_positions[8]) == len(prompt)


def test_a_chat_prompt_is_how_the_training_sequence_begins(serial):
    turns = [Turn("user", ["What?", toys.codes(2, 2)]), Turn("assistant", ["Red."])]
    whole, prompt = serial.build(conversation(turns)), serial.chat_prompt(turns[:1])
    assert torch.equal(prompt.ids, whole.ids[: len(prompt)])


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (torch.ones(8, 2, 2), "8 bits, the model's 16"),
        (torch.ones(16, 2, 18), "64x576 has a side above 512"),
        (torch.ones(16, 0, 2), "not made of whole patches"),
    ],
)
def test_images_that_do_not_fit_are_refused(serial, codes, words):
    with pytest.raises(MLLMError, match=words):
        serial.editing([], "A", codes)


def test_a_grid_that_patches_do_not_tile_is_refused():
    config = toys.config(4)
    tokenizer = toys.text_tokenizer()
    add_special_tokens(tokenizer, config)
    with pytest.raises(MLLMError, match="multiples of 64 pixels"):
        SequenceBuilder(tokenizer, config).editing([], "A", toys.codes(3, 2))


def test_a_tokenizer_without_special_tokens_is_refused():
    with pytest.raises(MLLMError, match=r"lacks 21 special tokens: <\|im_start\|>"):
        SequenceBuilder(toys.text_tokenizer(), toys.config())


def test_special_tokens_are_added_once():
    tokenizer = toys.text_tokenizer()
    assert add_special_tokens(tokenizer, toys.config(4)) == 5 + 16 + 3
    assert add_special_tokens(tokenizer, toys.config(4)) == 0
