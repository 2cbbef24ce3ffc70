from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from tests.uniwetok.mllm import toys
from uniwetok.mllm import MLLMError, Sampling, Turn, collate

NEW = 12


@pytest.fixture(scope="module")
def assistant():
    return toys.assistant()


@pytest.fixture
def conversations(assistant):
    pictures = [toys.picture(64, 96), toys.picture(96, 64, 1)]
    return [
        [assistant.question("What colour?", pictures)],
        [Turn("user", ["红色?"])],
        [Turn("user", ["Hello"]), Turn("assistant", ["A"]), Turn("user", ["Which shape?"])],
    ]


@torch.no_grad()
def uncached_ids(assistant, turns):
    """Greedy tokens with the whole sequence run anew for each."""
    special = set(assistant.builder.special_ids.values())
    end = assistant.builder.special_ids["<|im_end|>"]
    model, ids = assistant.model, []
    batch = collate([[assistant.builder.chat_prompt(turns)]])
    prompt = model.embed(batch)
    for _ in range(NEW):
        said = model.language_model.get_input_embeddings()(torch.tensor([ids], dtype=torch.int64))
        inputs = torch.cat([prompt, said], dim=1)
        positions = torch.arange(inputs.shape[1])[None]
        scores = model.logits(model.run(inputs, positions, None)[0, -1])
        scores[sorted(special - {end})] = -torch.inf
        ids.append(int(scores.argmax()))
        if ids[-1] == end:
            break
    return ids


def test_replies_are_those_without_a_cache(assistant, conversations):
    replies = assistant.chat(conversations, sampling=Sampling(max_new_tokens=NEW))
    for turns, reply in zip(conversations, replies, strict=True):
        ids = uncached_ids(assistant, turns)
        assert reply.text == assistant.text.decode(ids, skip_special_tokens=True)
        assert reply.tokens == len(ids)


@torch.no_grad()
def test_cached_hidden_states_are_those_without_a_cache(assistant, conversations):
    model = assistant.model
    batch = collate([[assistant.builder.chat_prompt(conversations[0])]])
    inputs = model.embed(batch)
    whole = model.run(inputs, batch.positions, batch.seen())
    cache = DynamicCache()
    split = inputs.shape[1] - 3
    parts = [model.run(inputs[:, :split], batch.positions[:, :split], None, cache)]
    for place in range(split, inputs.shape[1]):
        here = slice(place, place + 1)
        parts.append(model.run(inputs[:, here], batch.positions[:, here], None, cache))
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_reply_depends_on_its_own_conversation_and_seed(assistant, conversations, temperature):
    sampling = Sampling(max_new_tokens=NEW, temperature=temperature, top_p=0.95)
    together = assistant.chat(conversations, seeds=[1, 2, 3], sampling=sampling)
    for turns, seed, reply in zip(conversations, [1, 2, 3], together, strict=True):
        assert assistant.chat([turns], seeds=[seed], sampling=sampling) == [reply]


def test_seeds_matter_where_tokens_are_drawn(assistant, conversations):
    sampling = Sampling(max_new_tokens=NEW, temperature=1.5)
    replies = assistant.chat([conversations[1]] * 2, seeds=[1, 2], sampling=sampling)
    assert replies[0] != replies[1]
    narrow = Sampling(max_new_tokens=NEW, temperature=1.5, top_p=1e-6)
    likeliest = assistant.chat([conversations[1]], sampling=Sampling(max_new_tokens=NEW))
    assert assistant.chat([conversations[1]], seeds=[1], sampling=narrow) == likeliest


def test_streamed_pieces_are_whole_characters_that_make_the_reply(assistant, conversations):
    replies = assistant.stream(
        conversations, seeds=[1, 2, 3], sampling=Sampling(max_new_tokens=30, temperature=2)
    )
    steps = list(replies)
    for row, reply in enumerate(replies.replies):
        assert "".join(step[row] for step in steps) == reply.text
    assert any(len(step[0]) > 0 for step in steps[:5])
    assert [reply.finish for reply in replies.replies] == ["length"] * 3


def scripted(assistant, monkeypatch, text: str) -> None:
    """Make the model say a text and end."""
    end = assistant.builder.special_ids["<|im_end|>"]
    ids = iter([*assistant.builder.encode(text), end])

    def logits(hidden):
        scores = torch.zeros(len(hidden), len(assistant.text))
        scores[:, next(ids)] = 1
        return scores

    monkeypatch.setattr(assistant.model, "logits", logits)


@pytest.mark.parametrize(
    ("said", "stop", "expected"),
    [
        ("The shape is red.", (), "The shape is red."),
        ("一个绿色的圆🙂。", (), "一个绿色的圆🙂。"),
        ("red.\n\nUser: more", ("\n\n",), "red."),
        ("red.\nUser", ("\n\n", "er"), "red.\nUs"),
        ("stop", ("stop",), ""),
        ("st", ("stop",), "st"),
    ],
)
def test_stop_texts_end_a_reply_and_are_no_part_of_it(assistant, monkeypatch, said, stop, expected):
    scripted(assistant, monkeypatch, said)
    stream = assistant.stream([[Turn("user", ["?"])]], sampling=Sampling(stop=stop))
    pieces = [piece for (piece,) in stream]
    assert "".join(pieces) == expected
    assert not any("\ufffd" in piece for piece in pieces)
    (reply,) = stream.replies
    assert (reply.text, reply.finish, reply.empty) == (expected, "stop", not expected)


def test_markers_of_images_are_never_said(assistant, monkeypatch):
    special = assistant.builder.special_ids

    def logits(hidden):
        scores = torch.zeros(len(hidden), len(assistant.text) + 8)
        scores[:, sorted(set(special.values()) - {special["<|im_end|>"]})] = 10
        scores[:, len(assistant.text) :] = 10
        scores[:, assistant.builder.encode("A")[0]] = 1
        return scores

    monkeypatch.setattr(assistant.model, "logits", logits)
    rows = torch.nn.Linear(32, len(assistant.text) + 8, bias=False)
    # Set as an attribute, what stood there would not come back: modules keep theirs in a table.
    monkeypatch.setitem(assistant.model.language_model._modules, "lm_head", rows)
    (reply,) = assistant.chat([[Turn("user", ["?"])]], sampling=Sampling(max_new_tokens=3))
    assert reply.text == "AAA"


def test_the_context_cuts_a_reply_off():
    assistant = toys.assistant(context=40)
    replies = assistant.stream([[Turn("user", ["Hello"])]], sampling=Sampling(max_new_tokens=99))
    steps = len(list(replies))
    prompt = len(assistant.builder.chat_prompt([Turn("user", ["Hello"])]))
    if replies.replies[0].finish == "length":
        assert prompt + steps == 40


def test_bad_requests_are_refused(assistant):
    picture = toys.picture(64, 64)
    with pytest.raises(MLLMError, match="no question"):
        assistant.chat([[assistant.question(" ", [picture])]])
    with pytest.raises(MLLMError, match="context of 512 tokens"):
        assistant.chat([[Turn("user", ["red square " * 400])]])
    for wrong in (
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"stop": ("",)},
        {"temperature": float("nan")},
    ):
        with pytest.raises(MLLMError):
            Sampling(**wrong)
