"""`--model` texts: every form that is written, and every way to write one wrongly."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import pytest
import torch
from pydantic import Field

from harness.engine.models import ModelChoice, describe, load, options_of, require
from harness.interfaces import Argument
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard

if TYPE_CHECKING:
    from harness.interfaces import Model


class Configurable:
    """A model with an optional argument and options."""

    def __init__(
        self,
        where: Annotated[Path | None, Argument] = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
        ema: bool = True,
        steps: Annotated[int, Field(ge=1, le=99, description="Noisy steps.")] = 50,
    ) -> None:
        if steps == 13:
            raise ValueError("steps=13 bring bad luck")
        if steps == 14:
            raise KeyError("14\nand more")
        if steps == 15:
            raise SystemExit(0)
        self.given = (where, dtype, ema, steps)


@dataclass(eq=False)
class Demanding:
    """A model that cannot do without its argument, nor without an option."""

    folder: Annotated[Path, Argument, "Where the weights lie."]
    scale: float


@dataclass(frozen=True)
class Box:
    """Something with fields."""

    left: int
    top: int = 0


@dataclass(eq=False)
class Rich:
    """A model whose options are more than words and numbers."""

    sides: list[int] = field(default_factory=list)
    pair: tuple[int, float] | None = None
    scales: dict[str, float] | None = None
    box: Box | None = None
    level: Literal[1, 2] = 1
    most: int | None = 3


def two_arguments(a: Annotated[str, Argument], b: Annotated[str, Argument]) -> None:
    """A factory that cannot say which stands after the colon."""


def by_place(a: int, /, b: int = 1) -> None:
    """A factory that takes an option by its place alone."""


def takes_anything(**options: str) -> dict[str, str]:
    """A factory that checks its options itself."""
    return options


def untyped(a: Nowhere = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
    """A factory whose annotation means nothing."""


def mistyped(a: re.Nothing = 1) -> None:  # type: ignore[name-defined]
    """A factory whose annotation is an attribute that is not there."""


class Carded:
    """A model whose card is what it is told."""

    def __init__(self, card: Any) -> None:
        self._card = card

    @property
    def card(self) -> Any:
        if isinstance(self._card, BaseException):
            raise self._card
        return self._card


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    factories: dict[str, Any] = {
        **MODELS._registered,
        "configurable": Configurable,
        "demanding": Demanding,
        "anything": takes_anything,
        "rich": Rich,
        "two-arguments": two_arguments,
        "by-place": by_place,
        "untyped": untyped,
        "mistyped": mistyped,
        "built-in": type,
    }
    monkeypatch.setattr(MODELS, "_registered", factories)


@pytest.mark.parametrize(
    ("text", "name", "argument", "options"),
    [
        ("webp", "webp", None, {}),
        ("webp:2048", "webp", "2048", {}),
        ("uniwetok:a/model.ckpt", "uniwetok", "a/model.ckpt", {}),
        ("uniwetok:C:/model.ckpt", "uniwetok", "C:/model.ckpt", {}),
        ("m:x?dtype=bfloat16", "m", "x", {"dtype": "bfloat16"}),
        ("m?dtype=bfloat16&ema=false", "m", None, {"dtype": "bfloat16", "ema": "false"}),
        ("m?note=", "m", None, {"note": ""}),
        ("m?path=a%20b", "m", None, {"path": "a b"}),
        ("diffusers-vae:stabilityai/sd-vae", "diffusers-vae", "stabilityai/sd-vae", {}),
    ],
)
def test_written_forms(text: str, name: str, argument: str | None, options: dict[str, str]) -> None:
    assert ModelChoice.parse(text) == ModelChoice(name, argument, options)


@pytest.mark.parametrize("text", ["m?dtype", "m?=1&dtype", "m?a=1&&b=2", "m:x?dtype"])
def test_options_without_a_value_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"options are written \?key=value&key=value"):
        ModelChoice.parse(text)


def test_colon_without_an_argument_is_refused() -> None:
    with pytest.raises(UserError, match="model 'webp:': nothing follows the colon"):
        ModelChoice.parse("webp:")


def test_argument_and_options_reach_the_factory() -> None:
    model: Any = ModelChoice.parse("configurable:file?ema=false&steps=7").build()
    assert model.given == (Path("file"), "float32", False, 7)


def test_absent_argument_is_not_passed() -> None:
    model: Any = ModelChoice.parse("configurable").build()
    assert model.given == (None, "float32", True, 50)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("[1, 2]", "sides", [1, 2]),
        ("[1, 0.5]", "pair", (1, 0.5)),
        ('{"a": 1}', "scales", {"a": 1.0}),
        ('{"left": 4}', "box", Box(4)),
        ("2", "level", 2),
        ("none", "most", None),
        ("null", "most", None),
    ],
)
def test_options_that_are_no_words_are_written_as_json(text: str, name: str, value: object) -> None:
    assert getattr(ModelChoice.parse(f"rich?{name}={text}").build(), name) == value


def test_unknown_option_suggests_the_known_ones() -> None:
    with pytest.raises(
        UserError, match="'configurable' has no option 'dtyp': did you mean 'dtype'"
    ):
        ModelChoice.parse("configurable?dtyp=bfloat16").build()


def test_argument_is_not_an_option() -> None:
    with pytest.raises(UserError, match="has no option 'where'"):
        ModelChoice.parse("configurable?where=x").build()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("configurable?dtype=int8", "configurable: dtype=int8 must be 'float32' or 'bfloat16'"),
        ("configurable?steps=0", "configurable: steps=0 must be greater than or equal to 1"),
        ("configurable?steps=few", "configurable: steps=few must be a valid integer"),
        ("configurable?ema=maybe", "configurable: ema=maybe must be a valid boolean"),
        ("configurable?steps=13", "model 'configurable': steps=13 bring bad luck"),
        ("configurable?steps=14", "model 'configurable': KeyError: '14\\nand more'"),
        ("configurable?steps=15", "model 'configurable': SystemExit: 0"),
        ("webp:many", "webp:many: bytes must be a valid integer"),
        ("webp:0", "webp:0: bytes must be greater than or equal to 1"),
        ("demanding?scale=1", "model 'demanding' needs 'folder': --model demanding:FOLDER (Where"),
        ("demanding:here", "model 'demanding' needs 'scale': --model demanding?scale=…"),
        ("untyped?a=1", "model 'untyped': its options have no types: NameError"),
        ("mistyped?a=1", "model 'mistyped': its options have no types: AttributeError"),
        ("two-arguments:x", "model 'two-arguments' marks a and b as its one Argument"),
        ("by-place?a=1", "model 'by-place': 'a' is positional only: options have names"),
        ("rich?sides=1,2", "rich: sides=1,2 must be a valid list"),
        ("rich?level=3", "rich: level=3 must be 1 or 2"),
        ("rich?most=true", "rich: most=true must be a valid integer"),
        ("rich?most=1.5", "rich: most=1.5 must be a valid integer"),
        ('rich?box={"top":1}', "rich: box={\"top\":1} lacks 'left'"),
        ("built-in", "model 'built-in': its options have no types: ValueError: no signature"),
    ],
)
def test_impossible_options_are_one_line(text: str, line: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(line)) as error:
        ModelChoice.parse(text).build()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (ModelCard(name="x", config={"path": Path("x")}), "TypeError: Object of type PosixPath"),
        (RuntimeError("not\nloaded"), "RuntimeError: not"),
        (SystemExit(0), "SystemExit: 0"),
        (None, "a NoneType is none"),
    ],
)
def test_a_card_that_cannot_be_had_is_one_line(card: object, said: str) -> None:
    with pytest.raises(UserError, match=f"^model 'mine' has no card: {said}") as error:
        require(cast("Model", Carded(card)), "mine", (), "a task")
    assert len(str(error.value).splitlines()) == 1


@dataclass
class Unloadable:
    """Loading it raises."""

    error: BaseException
    card = ModelCard(name="mine")

    def load(self, device: str) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("breaks\nhere"), "model 'mine': RuntimeError: breaks"),
        (
            FileNotFoundError(2, "No such file", "w.pt"),
            "model 'mine': FileNotFoundError: [Errno 2]",
        ),
        (ValueError("16 bits are too few"), "model 'mine': 16 bits are too few"),
        (SystemExit(0), "model 'mine': RuntimeError: it asked Python to end"),
        (UserError("w.pt is damaged: fetch it again"), "w.pt is damaged: fetch it again"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(error: BaseException, said: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(said)) as told:
        load(Unloadable(error), "cpu")
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()]
)
def test_memory_that_ends_while_a_model_loads_is_no_error_of_its_code(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        load(Unloadable(error), "cpu")
    assert raised.value is error


def test_argument_where_none_is_taken_is_refused() -> None:
    with pytest.raises(UserError, match="'identity' takes no argument, got 'x'"):
        ModelChoice.parse("identity:x").build()


def test_missing_argument_is_a_clear_line() -> None:
    with pytest.raises(UserError, match="'demanding' needs"):
        ModelChoice.parse("demanding").build()


def test_factory_with_open_options_gets_them_all() -> None:
    assert ModelChoice.parse("anything?a=1&b=2").build() == {"a": "1", "b": "2"}


def test_unknown_model_suggests() -> None:
    with pytest.raises(UserError, match="unknown model 'webpp': did you mean 'webp'"):
        ModelChoice.parse("webpp").build()


def test_what_is_shown_of_a_model() -> None:
    assert describe("configurable") == {
        "written": "configurable[:WHERE][?dtype=…&ema=…&steps=…]",
        "options": {
            "where": {"type": "Path", "default": None},
            "dtype": {"type": "float32 or bfloat16", "default": "float32"},
            "ema": {"type": "bool", "default": True},
            "steps": {
                "type": "int, at least 1, at most 99",
                "default": 50,
                "description": "Noisy steps.",
            },
        },
        "offers": [],
        "tasks that fit": [],
    }
    assert describe("identity")["written"] == "identity"
    assert describe("images")["written"] == "images:PLACE[?label=…&bits=…&bpp=…&pairs=…]"
    assert describe("webp")["offers"] == ["VisualTokenizer"]
    assert "imagenet-recon" in describe("webp")["tasks that fit"]


def test_a_card_without_a_label_is_called_as_the_choice_is_written() -> None:
    for text in ("anything?grey=90", "anything?grey=20&tint=red"):
        found = ModelChoice.parse(text).card(Carded(ModelCard(name="anything")))
        assert found.title == text
        assert found.digest == ModelCard(name="anything").digest
    named = ModelCard(name="webp", label="webp:2048")
    assert ModelChoice.parse("webp:2048?a=b").card(Carded(named)) == named
    assert ModelChoice.parse("identity").card(Carded(ModelCard(name="identity"))).label == ""


def test_inherited_options_are_read_in_their_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = ModuleType("elsewhere")
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    text = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "Count = int\n"
        "@dataclass\n"
        "class Base:\n"
        "    count: Count = 1\n"
    )
    exec(text, vars(elsewhere))

    @dataclass
    class Own(elsewhere.Base):  # type: ignore[name-defined, misc]
        more: int = 2

    options = options_of("own", Own)(count="3", more="4")
    assert options.model_dump() == {"count": 3, "more": 4}
