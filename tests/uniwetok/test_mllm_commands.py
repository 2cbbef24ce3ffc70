"""`uwt-eval chat`, `generate` and `edit` as a user runs them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.control import strip_control_codes

from harness.interfaces.errors import plain
from tests.conftest import CommandLine
from tests.uniwetok.mllm import toys
from uniwetok.mllm import MLLM, Assistant, Drawing, Sampling, Turn


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.saved(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(toys.picture(96, 64)).save(path)
    return path


def test_images_carry_their_settings(uwt_eval: CommandLine, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    options = ["--height", 64, "--width", 96, "--steps", 2, "--cfg", 3, "--seed", 5]
    result = uwt_eval("generate", "红色的正方形", "-m", model, *options, "--out", out)
    assert result.code == 0, result.err
    assert result.out == f"written: {out} (64x96, seed 5)\n"
    with Image.open(out) as image:
        assert image.size == (96, 64)
        texts = image.text  # type: ignore[attr-defined]
        assert texts["prompt"] == "红色的正方形"
        assert {texts[name] for name in ("seed", "steps")} == {"5", "2"}
        assert float(texts["cfg"]) == 3
        pixels = np.asarray(image)
    (expected,) = Assistant.from_pretrained(model).generate(
        ["红色的正方形"], [5], Drawing(height=64, width=96, steps=2, cfg=3)
    )
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_several_images_are_numbered_and_listed(
    uwt_eval: CommandLine, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "drawn.png"
    options = ["--height", 64, "--width", 64, "--steps", 1, "--count", 2, "--json"]
    result = uwt_eval("generate", "A", "B", "-m", model, *options, "--out", out)
    entries = json.loads(result.out)
    assert [entry["prompt"] for entry in entries] == ["A", "A", "B", "B"]
    assert [entry["seed"] for entry in entries] == [0, 1, 2, 3]
    assert [Path(entry["path"]).name for entry in entries] == [f"drawn-{i}.png" for i in range(4)]
    assert sorted(path.name for path in out.parent.iterdir()) == [
        f"drawn-{i}.png" for i in range(4)
    ]


def test_sizes_are_rounded_with_a_notice_or_refused(
    uwt_eval: CommandLine, model: Path, tmp_path: Path
) -> None:
    options = ["--height", 70, "--width", 90, "--steps", 1, "--out", tmp_path / "a.png"]
    result = uwt_eval("generate", "A", "-m", model, *options)
    assert result.code == 0
    assert "size 70x90 does not fit" in result.err
    assert "(64x96, seed 0)" in result.out
    strict = uwt_eval("generate", "A", "-m", model, *options, "--strict")
    assert strict.code == 2
    assert "the nearest is 64x96" in strict.err


def test_an_edited_picture_has_the_size_of_its_source(
    uwt_eval: CommandLine, model: Path, tmp_path: Path, picture: Path
) -> None:
    out = tmp_path / "edited.png"
    options = ["-i", picture, "--steps", 1, "--image-cfg", 2, "--out", out]
    result = uwt_eval("edit", "把圆变成黄色", "-m", model, *options)
    assert result.code == 0, result.err
    with Image.open(out) as image:
        assert image.size == (64, 96)
        texts = image.text  # type: ignore[attr-defined]
    assert texts["instruction"] == "把圆变成黄色"
    assert json.loads(texts["images"]) == [str(picture)]
    sized = uwt_eval(
        "edit", "A", "-m", model, *options, "-i", picture, "--height", 64, "--width", 100, "--json"
    )
    assert (json.loads(sized.out)[0]["height"], json.loads(sized.out)[0]["width"]) == (64, 96)
    assert "size 64x100 does not fit" in sized.err


def test_a_picture_of_another_size_is_made_to_fit(
    uwt_eval: CommandLine, model: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.png"
    Image.fromarray(toys.picture(100, 70)).save(odd)
    options = ["-i", odd, "--steps", 1, "--out", tmp_path / "edited.png"]
    result = uwt_eval("edit", "A", "-m", model, *options)
    assert "the picture of 100x70 is read and drawn as 96x64" in result.err
    assert uwt_eval("edit", "A", "-m", model, *options, "--strict").code == 2


def test_a_question_is_answered(uwt_eval: CommandLine, model: Path, picture: Path) -> None:
    assistant = Assistant.from_pretrained(model)
    turns = [assistant.question("What colour?", [toys.picture(96, 64)] * 2)]
    (expected,) = assistant.chat([turns], sampling=Sampling(max_new_tokens=5))
    images = ["-i", picture, "-i", picture, "--max-new-tokens", 5]
    result = uwt_eval("chat", "What colour?", "-m", model, *images)
    assert result.code == 0, result.err
    assert result.out == strip_control_codes(expected.text) + "\n"
    assert "cut off after 5 tokens" in result.err
    machine = uwt_eval("chat", "What colour?", "-m", model, *images, "--json")
    assert json.loads(machine.out) == {
        "question": "What colour?",
        "reply": expected.text,
        "tokens": 5,
        "finish": "length",
        "empty": False,
    }


def test_a_conversation_knows_what_was_said(
    uwt_eval: CommandLine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n\nWhat is red?"))
    result = uwt_eval("chat", "-m", model, "--max-new-tokens", 4)
    assistant, sampling = Assistant.from_pretrained(model), Sampling(max_new_tokens=4)
    turns = [Turn("user", ["Hello"])]
    (first,) = assistant.chat([turns], sampling=sampling)
    turns += [Turn("assistant", [first.text]), Turn("user", ["What is red?"])]
    (second,) = assistant.chat([turns], sampling=sampling)
    # Random letters, some of which no terminal is shown.
    assert result.out == plain(f"{first.text}\n{second.text}\n")


def test_an_empty_reply_is_told(
    uwt_eval: CommandLine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: MLLM, hidden: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(*hidden.shape[:-1], self.output_layer.out_features)
        scores[..., self.end] = 1
        return scores

    end = Assistant.from_pretrained(model).builder.special_ids["<|im_end|>"]
    monkeypatch.setattr(MLLM, "end", end, raising=False)
    monkeypatch.setattr(MLLM, "logits", silent)
    result = uwt_eval("chat", "Hello", "-m", model)
    assert result.code == 0
    assert "the model gave an empty reply" in result.err
    machine = uwt_eval("chat", "Hello", "-m", model, "--json")
    assert json.loads(machine.out)["empty"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", " "], "an empty prompt"),
        (["generate", "A", "--steps", 0], "--steps 0: must be at least 1"),
        (["generate", "A", "--count", 0], "--count 0: must be at least 1"),
        (["generate", "A", "--out", "a.jpg"], "give the name of a .png file"),
        (["generate", "A", "--cfg", -1], "guidance by text must be a finite number"),
        (["generate", "A", "--height", 0], "both sides must be at least 1 pixel"),
        (["generate", "A", "--dtype", "int8"], "--dtype int8: use float32 or bfloat16"),
        (["generate", "red square " * 300], "context of 512 tokens"),
        (["edit", "A"], "no picture to edit: give --image FILE"),
        (["edit", " ", "-i", "x.png"], "an empty instruction"),
        (["edit", "A", "-i", "x.png"], "--image x.png: no such file"),
        (["edit", "A", "-i", "text.png"], "--image text.png: not an image"),
        (["edit", "A", "-i", "x.png", "--height", 64], "--height and --width both"),
        (["chat", " ", "-i", "x.png"], "no question: give a text"),
        (["chat", "red square " * 300], "context of 512 tokens"),
        (["chat", "A", "--max-new-tokens", 0], "max_new_tokens=0"),
        (["chat", "--json"], "--json answers one question"),
        (["chat"], "no question"),
    ],
)
def test_bad_input_is_one_clear_line(
    uwt_eval: CommandLine,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[object],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    (tmp_path / "text.png").write_text("no image")
    sized = ["--height", 64, "--width", 64]
    more = sized if arguments[0] == "generate" and "--height" not in arguments else []
    result = uwt_eval(*arguments, *more, "-m", model)
    assert result.code == 2
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.png"]


def test_what_is_no_model_is_one_clear_line(uwt_eval: CommandLine, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        result = uwt_eval("chat", "A", "-m", place)
        assert result.code == 2
        assert result.err.startswith(f"error: --model: {place}: no ")
