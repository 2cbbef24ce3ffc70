"""`--model` texts: `NAME[:ARGUMENT][?key=value&key=value]`."""

from __future__ import annotations

import builtins
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin
from urllib.parse import parse_qsl

from annotated_types import Ge, Le
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)

from harness.interfaces import INTERFACES, Argument, Model, offers
from harness.interfaces.errors import UserError, did_you_mean, first_line
from harness.interfaces.extras import missed
from harness.interfaces.observing import out_of_memory
from harness.interfaces.registry import MODELS, TASKS, others_code, printing_aside
from harness.interfaces.types import ModelCard, digest_of

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails


_FOLDERS = re.compile(r"[^:?=&]*/")
"""Of paths in a choice; what tables call a model moves with none of them."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model by registry name, with the argument and options its plug-in understands."""

    name: str
    argument: str | None
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> ModelChoice:
        """Read `webp`, `webp:2048`, `uniwetok:model.ckpt?dtype=bfloat16`."""
        head, _, query = text.partition("?")
        name, colon, argument = head.partition(":")
        try:
            options = dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True))
        except ValueError as error:
            if query:
                raise UserError(
                    f"model {text!r}: options are written ?key=value&key=value"
                ) from error
            options = {}
        if colon and not argument:
            raise UserError(f"model {text!r}: nothing follows the colon")
        return cls(name, argument or None, options)

    @property
    def text(self) -> str:
        """The choice as it is written on the command line."""
        argument = f":{self.argument}" if self.argument else ""
        options = "&".join(f"{name}={value}" for name, value in self.options.items())
        return self.name + argument + (f"?{options}" if options else "")

    def build(self) -> Model:
        """Construct the plug-in without loading weights; raise `UserError` for wrong options."""
        factory = MODELS.get(self.name)
        options = options_of(self.name, factory)
        argument = argument_of(options)
        known = [name for name in options.model_fields if name != argument]
        for option in self.options:
            if option not in known and options.model_config.get("extra") != "allow":
                hint = did_you_mean(option, known)
                if argument and not known:
                    form = _written(argument, options)
                    hint = f"it takes only {argument!r}: --model {self.name}:{form}"
                raise UserError(f"model {self.name!r} has no option {option!r}: {hint}")
        given: dict[str, str] = dict(self.options)
        if self.argument is not None:
            if argument is None:
                raise UserError(f"model {self.name!r} takes no argument, got {self.argument!r}")
            given[argument] = self.argument
        try:
            values = options.model_validate(given)
            with printing_aside():
                return cast("Model", factory(**{name: getattr(values, name) for name in given}))
        except UserError:
            raise
        except ValidationError as error:
            if error.title != options.__name__:  # Of a model that the plug-in makes of its own.
                raise UserError(f"model {self.name!r}: {first_line(error)}") from error
            raise UserError(self._refused(error.errors()[0], options, argument)) from error
        except (Exception, SystemExit) as error:
            raise _broken(self.name, error) from error

    def card(self, model: Model) -> ModelCard:
        """The card of a model that `build` made, with its code's digest where that is not ours.

        What an edited plug-in, or a module beside it, computed before is another model's. Tables
        tell two choices of one plug-in apart, whether or not its cards have labels, and whatever
        the labels of another's plug-in leave unsaid.
        """
        card = model.card
        changes: dict[str, str] = {}
        if code := MODELS.code(self.name):
            # An option that a card forgets decides what is computed all the same.
            changes["code_sha256"] = digest_of([code, self.options]) if self.options else code
        if not card.label and self.text != self.name:
            changes["label"] = _FOLDERS.sub("", self.text)
        elif code and (unsaid := [key for key in self.options if f"{key}=" not in card.label]):
            options = "&".join(f"{key}={self.options[key]}" for key in unsaid)
            mark = "&" if "?" in card.label else "?"
            changes["label"] = f"{card.label}{mark}{_FOLDERS.sub('', options)}"
        return ModelCard(**{**card.model_dump(), **changes}) if changes else card

    def _refused(self, error: ErrorDetails, options: type[BaseModel], argument: str | None) -> str:
        """One line about the first option that cannot be."""
        name, *within = map(str, error["loc"])
        if error["type"] == "missing" and not within:
            form = f":{_written(name, options)}" if name == argument else f"?{name}=…"
            about = description_of(options.model_fields[name]).rstrip(".")
            line = f"model {self.name!r} needs {name!r}: --model {self.name}{form}"
            return f"{line} ({about})" if about else line
        reason = error["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        reason = reason.partition(", unable to parse")[0]
        reason = f"lacks {within[-1]!r}" if error["type"] == "missing" else reason
        if name == argument:
            return f"{self.name}:{self.argument}: {name} {reason}"
        return f"{self.name}: {name}={self.options[name]} {reason}"


def _from_text(text: str, read: ValidatorFunctionWrapHandler) -> Any:
    """What a text says of the option's type: as it is, or as the JSON of a list or a table."""
    try:
        found = read(text)
        if isinstance(found, Path):
            _check_path(found)
        return found
    except ValidationError as error:
        try:
            value = None if text == "none" else json.loads(text)
        except ValueError:
            raise error from None
        if isinstance(found := read(value), bool) or not isinstance(value, bool):
            return found
        raise  # Where a number is asked for, pydantic takes true for 1.


def _check_path(path: Path) -> None:
    """Raise `ValueError` for what no file system can hold, such as a name of 300 letters."""
    try:
        path.exists()
    except OSError as error:
        raise ValueError(f"can be no path: {error.strerror}") from error


def options_of(name: str, factory: Callable[..., Any]) -> type[BaseModel]:
    """Make a pydantic model of the parameters of a plug-in's constructor.

    A text stands for anything that pydantic makes of it, or of the JSON that it is: `[1, 2]`.

    Raises:
        UserError: The annotations of its parameters cannot be read, or one cannot be given.
    """
    try:
        # A dataclass inherits fields whose annotations are names of the module of its base.
        scope: dict[str, Any] = {}
        for base in reversed(getattr(factory, "__mro__", ())):
            scope |= vars(sys.modules.get(base.__module__, builtins))
        signature = inspect.signature(factory, eval_str=True, locals=scope)
        parameters = signature.parameters.values()
        extra = any(each.kind is each.VAR_KEYWORD for each in parameters)
        # In the signature of a dataclass a default that is made anew is a mark alone.
        factories = {
            each.name: Field(default_factory=each.default_factory)
            for each in (fields(factory) if is_dataclass(factory) else ())
            if each.default_factory is not MISSING
        }
        options_by_name: dict[str, Any] = {
            each.name: (
                Annotated[
                    str if each.annotation is each.empty else each.annotation,
                    WrapValidator(_from_text),
                ],
                factories.get(each.name, ... if each.default is each.empty else each.default),
            )
            for each in parameters
            if each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL}
        }
        config = ConfigDict(
            extra="allow" if extra else "forbid",
            arbitrary_types_allowed=True,
            protected_namespaces=(),
        )
        options = create_model(f"options of {name}", __config__=config, **options_by_name)
    except Exception as error:
        # Annotations are a plug-in's own code too, and what is built in may have no signature.
        raise UserError(
            f"model {name!r}: its options have no types: {first_line(error)}"
        ) from error
    for each in parameters:
        if each.kind is each.POSITIONAL_ONLY:
            raise UserError(f"model {name!r}: {each.name!r} is positional only: options have names")
    marked = [key for key, field in options.model_fields.items() if _marks(field)]
    if len(marked) > 1:
        raise UserError(f"model {name!r} marks {' and '.join(marked)} as its one Argument")
    return options


def argument_of(options: type[BaseModel]) -> str | None:
    """The option that stands after the colon, where there is one."""
    marked = [name for name, field in options.model_fields.items() if _marks(field)]
    return next(iter(marked), None)


def _marks(field: FieldInfo) -> list[Any]:
    """The marks of an argument, of which there is one or none."""
    return [each for each in field.metadata if each is Argument or isinstance(each, Argument)]


def _written(name: str, options: type[BaseModel]) -> str:
    """How an argument is written, as MODEL@URL; its name where nothing else is said."""
    (mark,) = _marks(options.model_fields[name])
    return mark.form if isinstance(mark, Argument) else name.upper()


def description_of(field: FieldInfo) -> str:
    """Describe an option: the description of its `Field`, or a text among its annotations."""
    texts = (field.description, *field.metadata)
    return next((text for text in texts if isinstance(text, str)), "")


def describe(name: str) -> dict[str, Any]:
    """Describe a model for `uwt-eval show`: its form on the command line, options and tasks."""
    factory = MODELS.get(name)
    options = options_of(name, factory)
    argument = argument_of(options)
    others = [option for option in options.model_fields if option != argument]
    query = f"[?{'&'.join(f'{option}=…' for option in others)}]" if others else ""
    form = ""
    if argument is not None:
        form = f":{_written(argument, options)}"
        form = form if options.model_fields[argument].is_required() else f"[{form}]"
    return {
        "written": f"{name}{form}{query}",
        "options": {key: _option(field) for key, field in options.model_fields.items()},
        "offers": [each for each in INTERFACES if offers(factory, each)],
        "tasks that fit": fitting_tasks(factory) if isinstance(factory, type) else [],
    }


def _option(field: FieldInfo) -> dict[str, Any]:
    bounds = [f"at least {each.ge}" for each in field.metadata if isinstance(each, Ge)]
    bounds += [f"at most {each.le}" for each in field.metadata if isinstance(each, Le)]
    facts: dict[str, Any] = {"type": ", ".join([_type_name(field.annotation), *bounds])}
    if not field.is_required():
        # Pydantic 2.10 wants values of others even where the factory takes none.
        default = field.get_default(call_default_factory=True, validated_data={})
        plain = isinstance(default, bool | int | float | str | None)
        facts["default"] = default if plain else str(default)
    about = description_of(field)
    return facts | ({"description": about} if about else {})


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in {Union, UnionType}:
        return " or ".join(
            _type_name(each) for each in get_args(annotation) if each is not NoneType
        )
    return str(getattr(annotation, "__name__", annotation))


def require(model: Model, name: str, interfaces: Sequence[str], by: str) -> None:
    """Refuse a model that cannot do what is asked of it, or that cannot say what it is.

    Args:
        model: Constructed, not loaded.
        name: As the user calls it.
        interfaces: Names in `INTERFACES`, of which the model must offer any; none if empty.
        by: What asks for them.

    Raises:
        UserError: It offers none of them, one of them is unknown, or its card cannot be had.
    """
    for interface in interfaces:
        if interface not in INTERFACES:
            hint = did_you_mean(interface, INTERFACES)
            raise UserError(f"{by} asks for an unknown interface {interface!r}: {hint}")
    if interfaces and not any(offers(model, interface) for interface in interfaces):
        does = " and ".join(INTERFACES[each].does for each in INTERFACES if offers(model, each))
        needs = " or ".join(_described(each) for each in interfaces)
        raise UserError(
            f"model {name!r} {does or 'offers nothing that tasks ask for'}; {by} needs one that "
            f"{needs}; it fits: {', '.join(fitting_tasks(type(model))) or 'no task'}"
        )
    try:
        card = model.card
        sound = isinstance(card, ModelCard) and bool(card.digest)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        # A plug-in's own code: it may raise anything, and put anything into its `config`.
        raise UserError(f"model {name!r} has no card: {first_line(error)}") from error
    if not sound:
        raise UserError(f"model {name!r} has no card: a {type(card).__name__} is none")


def load(model: Model, device: str) -> None:
    """Load a model's weights.

    Raises:
        UserError: Its code raised anything, or asked Python to end. Memory that ends stays itself.
    """
    try:
        with others_code():
            model.load(device)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if out_of_memory(error) or missed(error):
            raise
        raise _broken(model.card.name, error) from error


def _broken(name: str, error: BaseException) -> UserError:
    """One line about an error in a plug-in's own code, with the model's name."""
    reason = str(error) if isinstance(error, ValueError) else first_line(error)
    return UserError(f"model {name!r}: {reason}")


def _described(interface: str) -> str:
    does, methods = INTERFACES[interface].does, INTERFACES[interface].methods
    return f"{does} ({', '.join(methods)})"


def fitting_tasks(model: type) -> list[str]:
    """Names of the tasks that a model of this class can be evaluated on."""
    fits = TASKS.ask(lambda task: any(offers(model, each) for each in task.spec.interfaces))
    return sorted(name for name, fit in fits.items() if fit)
