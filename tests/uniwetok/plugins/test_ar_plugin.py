"""The class-to-image model as a model of the harness, and the commands people see it by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine
from tests.uniwetok.ar.toys import tiny
from tests.uniwetok.train.ar.tiny import tiny_tokenizer
from uniwetok.ar import BitDance
from uniwetok.plugins.ar import UniWeTokAR
from uniwetok.tokenizer.model import encoder_digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as training leaves it, with its tokenizer beside it."""
    root = tmp_path_factory.mktemp("runs") / "flowers" / "model"
    torch.manual_seed(0)
    model = BitDance(tiny())
    with torch.no_grad():  # Its initial weights would draw the same bits for every class.
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    model.save_pretrained(root)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(root / "tokenizer")
    note = {"encoder_sha256": encoder_digest(tokenizer)}
    (root / "tokenizer.json").write_text(json.dumps(note))
    return root


def built(text: str) -> UniWeTokAR:
    plugin = ModelChoice.parse(text).build()
    assert isinstance(plugin, UniWeTokAR)
    plugin.load("cpu")
    return plugin


def test_an_image_depends_on_its_class_and_seed_alone(folder: Path) -> None:
    plugin = built(f"uniwetok-ar:{folder}?steps=4")
    classes, seeds = [3, 7, 3], [11, 12, 13]
    together = plugin.sample(classes, seeds)
    alone = [plugin.sample([c], [s])[0] for c, s in zip(classes, seeds, strict=True)]
    assert together == alone
    assert len({code.payload for code in together}) == 3
    assert {(len(code.payload), code.height, code.width) for code in together} == {(32, 16, 16)}
    images = plugin.decode(together, seeds)
    assert images.shape == (3, 3, 16, 16)
    for row in range(3):
        (image,) = plugin.decode([together[row]], [seeds[row]])
        torch.testing.assert_close(image, images[row], rtol=0, atol=1e-5)


def test_everything_that_moves_an_image_is_part_of_the_identity(folder: Path) -> None:
    texts = ["", "?cfg=2", "?steps=5", "?schedule=constant", "?dtype=bfloat16"]
    texts += ["?schedule=interval:0.2-0.8", "?first_token=shared", "?compile=true"]
    cards = [ModelChoice.parse(f"uniwetok-ar:{folder}{text}").build().card for text in texts]
    assert len({card.digest for card in cards}) == len(cards)
    assert len({card.title for card in cards}) == len(cards)
    assert cards[0].title == "uniwetok-ar:flowers?cfg=3.2&steps=100"
    assert cards[0].codebook is not None
    assert (cards[0].codebook.groups, cards[0].codebook.bits_per_group) == (2, 8)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("cfg=-1", "cfg=-1 must be greater than or equal to 0"),
        ("cfg=nan", "cfg=nan must be"),
        ("steps=0", "steps=0 must be greater than or equal to 1"),
        ("steps=1.5", "steps=1.5 must be"),
        ("schedule=sine", "not one of linear, constant"),
        ("schedule=interval:0.9-0.1", "two times in order within 0..1"),
        ("first_token=own", "first_token=own must be 'released' or 'shared'"),
        ("compile=maybe", "compile=maybe must be a valid boolean"),
        ("dtype=int8", "dtype=int8 must be 'float32' or 'bfloat16'"),
        ("tokenizer=nowhere", "nowhere"),
    ],
)
def test_impossible_options_are_one_line(folder: Path, query: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _ = ModelChoice.parse(f"uniwetok-ar:{folder}?{query}").build().card


def test_parts_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of another size: width=32.*uniwetok-ar:… takes any"):
        _ = ModelChoice.parse(f"uniwetok-ar-b:{folder}").build().card
    tiny_tokenizer(1).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="codes of another tokenizer"):
        built(f"uniwetok-ar:{folder}?tokenizer={tmp_path / 'other'}")
    BitDance(tiny(latent_channels=8)).save_pretrained(tmp_path / "narrow")
    text = f"uniwetok-ar:{tmp_path / 'narrow'}?tokenizer={folder / 'tokenizer'}"
    with pytest.raises(UserError, match=r"tokens of 8 bits, the tokenizer .* decodes 16"):
        _ = ModelChoice.parse(text).build().card
    with pytest.raises(UserError, match="needs the tokenizer it was trained with"):
        ModelChoice.parse(f"uniwetok-ar:{tmp_path / 'narrow'}").build()
    BitDance(tiny(label_dropout=0.0)).save_pretrained(tmp_path / "unguided")
    text = f"uniwetok-ar:{tmp_path / 'unguided'}?tokenizer={folder / 'tokenizer'}"
    with pytest.raises(UserError, match="knows no guidance; use cfg=1"):
        _ = ModelChoice.parse(text).build().card


def test_sample_draws_a_labelled_picture(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    pictures = []
    for name, classes in (("pair.png", "2,5"), ("one.png", "5")):
        result = uwt_eval(
            "sample", "--model", f"uniwetok-ar:{folder}", "--classes", classes, "--cfg", "2",
            "--steps", "3", "--device", "cpu", "--out", tmp_path / name,
        )  # fmt: skip
        assert result.code == 0, result.err
        pictures.append(np.asarray(Image.open(tmp_path / name)))
    assert pictures[0].shape[1] > 1.8 * pictures[1].shape[1]
    tile = pictures[1].shape[1] - 8
    np.testing.assert_array_equal(pictures[0][:, -tile:], pictures[1][:, -tile:])


def test_classes_go_by_name_too(uwt_eval: CommandLine, folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "model"
    shutil.copytree(folder, named)
    names = ["apple", "bear", "Cup", "dog", "eel", "fish", "bear", "hat", "ink", "jar"]
    (named / "classes.txt").write_text("\n".join(names))

    def draw(classes: str) -> np.ndarray | str:
        result = uwt_eval(
            "sample", "--model", f"uniwetok-ar:{named}", "--classes", classes, "--steps", "2",
            "--device", "cpu", "--out", tmp_path / "drawn.png",
        )  # fmt: skip
        return np.asarray(Image.open(tmp_path / "drawn.png")) if not result.code else result.err

    np.testing.assert_array_equal(draw("cup, 5"), draw("2,fish"))
    assert "'bear' is the name of 1 and 6: give a number" in draw("bear")
    assert "no class 'fihs': did you mean 'fish'" in draw("fihs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classes", "3,10"), "10 is none of the model's classes 0..9"),
        (("--classes", "-1"), "-1 is none of"),
        (("--classes", "cat"), "no class 'cat': give whole numbers, for it has no names"),
        (("--classes", "1,"), "no class ''"),
        (("--classes", "1", "--cfg", "-1"), "cfg=-1 must be"),
        (("--classes", "1", "--steps", "0"), "steps=0 must be"),
        (("--classes", "1", "--count", "0"), "--count 0"),
        (("--classes", "1", "--out", "a.jpg"), ".png"),
    ],
)
def test_bad_requests_are_one_line(
    uwt_eval: CommandLine, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = uwt_eval("sample", "--model", f"uniwetok-ar:{folder}", "--device", "cpu", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_without_a_model_the_one_that_ships_draws(uwt_eval: CommandLine, tmp_path: Path) -> None:
    pictures = []
    for name, model in (("without.png", ()), ("with.png", ("--model", "uniwetok-ar-nano"))):
        done = uwt_eval(
            *("sample", *model, "--classes", "castle", "--steps", "1", "--device", "cpu"),
            *("--out", tmp_path / name),
        )
        assert done.code == 0, done.err
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


def test_a_tokenizer_alone_draws_nothing(uwt_eval: CommandLine) -> None:
    result = uwt_eval("sample", "--model", "webp", "--classes", "1")
    assert result.code == 2
    assert "uwt-eval sample needs one that draws images of classes" in result.err
