"""`--model` texts: every form that is written, and every way to write one wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from harness.engine.models import ModelChoice
from harness.interfaces.errors import UserError
from harness.interfaces.registry import MODELS


class Configurable:
    """A model with an optional argument and options."""

    def __init__(self, argument: str | None = None, dtype: str = "float32", ema: str = "true"):
        self.given = (argument, dtype, ema)


class Demanding:
    """A model that cannot do without its argument."""

    def __init__(self, argument: str) -> None:
        self.argument = argument


def takes_anything(**options: str) -> dict[str, str]:
    """A factory that checks its options itself."""
    return options


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    factories: dict[str, Any] = {
        **MODELS._registered,
        "configurable": Configurable,
        "demanding": Demanding,
        "anything": takes_anything,
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
    with pytest.raises(UserError, match="--model webp:: nothing follows the colon"):
        ModelChoice.parse("webp:")


def test_argument_and_options_reach_the_factory() -> None:
    model: Any = ModelChoice.parse("configurable:file?ema=false").build()
    assert model.given == ("file", "float32", "false")


def test_absent_argument_is_not_passed() -> None:
    model: Any = ModelChoice.parse("configurable").build()
    assert model.given == (None, "float32", "true")


def test_unknown_option_suggests_the_known_ones() -> None:
    with pytest.raises(
        UserError, match="'configurable' has no option 'dtyp': did you mean 'dtype'"
    ):
        ModelChoice.parse("configurable?dtyp=bfloat16").build()


def test_argument_is_not_an_option() -> None:
    with pytest.raises(UserError, match="has no option 'argument'"):
        ModelChoice.parse("configurable?argument=x").build()


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
