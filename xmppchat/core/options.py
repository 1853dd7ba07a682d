"""Options as data: what each is called, what it takes, its default, unit and description.

From the same models that check a configuration file come its error texts, ``xmppchat config explain``, the
reference and the annotated default file; so every option has to have a description.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xmppchat.core.secret import Secret
from xmppchat.core.tables import DeclarationError


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `key` is its dotted name; a table with names of one's choice shows as ``hosts.DOMAIN``."""

    key: str
    type: str
    default: object
    is_required: bool
    bounds: str
    unit: str
    description: str

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of its key."""
        return tuple(self.key.split("."))

    @property
    def table(self) -> str:
        """The name of the table it stands in, "" at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in that table."""
        return self.key.rpartition(".")[2]


def options(model: type[BaseModel], prefix: str = "") -> list[Option]:
    """All options of a model and the models in it, in the order of their declaration, simple ones first."""
    simple: list[Option] = []
    nested: list[Option] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner, is_table = inner_model(field)
        if inner is not None:
            nested += options(inner, f"{key}.{_placeholder(field)}." if is_table else f"{key}.")
        else:
            simple.append(_option(key, field, model))
    return simple + nested


def inner_model(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The model a field holds, and whether it holds a table of such by name."""
    annotation = field.annotation
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, False
    if typing.get_origin(annotation) is dict:
        value = typing.get_args(annotation)[1]
        if inspect.isclass(value) and issubclass(value, BaseModel):
            return value, True
    return None, False


def find(known: Sequence[Option], key: str) -> list[Option]:
    """The options that `key` means: all for "", one by its key or name, or those of a table.

    A component's table may be called by the component's name, a host's by its domain, quoted or not. Raises KeyError
    with a sentence if there is none.
    """
    path = _path(key, known)
    found = [option for option in known if _is_within(option.path, path)]
    if not found:
        found = [option for option in known if option.name == key or option.table == f"components.{key}"]
    if not found:
        tables = {option.table for option in known}
        names = [*(o.key for o in known), *(o.name for o in known), *tables, *(t.rpartition(".")[2] for t in tables)]
        guess = closest(key, names)
        raise KeyError(f"there is no option {key!r}" + (f"; did you mean {guess!r}?" if guess else ""))
    return found


def _path(key: str, known: Sequence[Option]) -> tuple[str, ...]:
    path = tuple(key.split(".")) if key else ()
    of_domain = {option.name for option in known if option.table == f"{path[0] if path else ''}.DOMAIN"}
    if of_domain:
        # A domain has dots of its own: it is what stands between the table and the option, if there is one.
        has_option = len(path) > 2 and path[-1] in of_domain
        domain = ".".join(path[1:-1] if has_option else path[1:]).strip("\"'")
        path = (path[0], *filter(None, [domain]), *(path[-1:] if has_option else ()))
    return path


def _is_within(option: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return len(option) >= len(wanted) and all(
        part == want or part == "DOMAIN" for part, want in zip(option, wanted, strict=False)
    )


def check_described(model: type[BaseModel]) -> None:
    """Raise :class:`DeclarationError` if an option of `model` has no description or one of several lines."""
    for name, field in model.model_fields.items():
        inner, _ = inner_model(field)
        if inner is not None:
            check_described(inner)
        elif not field.description or "\n" in field.description:
            raise DeclarationError(
                f"{_where(model)}: option {name!r} of {model.__name__} needs a description of one line"
            )


def closest(word: str, known: Iterable[str]) -> str | None:
    """What was probably meant by `word`."""
    candidates = list(known)
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def dotted(names: Sequence[str]) -> str:
    """A key as it is written: quoted where TOML wants quotes."""
    return ".".join(
        n if n.replace("_", "").replace("-", "").isalnum() and n.isascii() else f'"{n}"' for n in names
    )


def toml_value(value: object) -> str:
    """`value` as TOML writes it; "none" for None, which TOML cannot say."""
    if value is None:
        return "none"
    if isinstance(value, Secret):
        return f"secret of {value.source}" if value.source else "secret"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return toml_value(value.value)
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= 100_000 else str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items())
            + "}"
        )
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'


def _option(key: str, field: FieldInfo, model: type[BaseModel]) -> Option:
    check_described(model)
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    default = (
        field.get_default(call_default_factory=True, validated_data={}) if not field.is_required() else None
    )
    return Option(
        key,
        type_name(field.annotation),
        default,
        field.is_required(),
        _bounds(field),
        unit,
        field.description or "",
    )


def type_name(annotation: Any) -> str:
    """A type for people."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(toml_value(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments if argument is not type(None))
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in (list, tuple):
        of = type_name(arguments[0])
        return f"list of {of}" if typing.get_origin(arguments[0]) is Literal else f"list of {of}s"
    if origin is dict:
        return f"table of {type_name(arguments[1])}" + ("" if typing.get_origin(arguments[1]) is Literal else "s")
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " | ".join(toml_value(member.value) for member in annotation)
    names: dict[Any, str] = {
        str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Secret: "secret",
    }  # fmt: skip
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(field: FieldInfo) -> str:
    found: dict[str, Any] = {}
    for constraint in field.metadata:
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
            value = getattr(constraint, name, None)
            if value is not None:
                found[name] = value
    least = _bound(found, "ge", "at least {}") or _bound(found, "gt", "more than {}")
    most = _bound(found, "le", "at most {}") or _bound(found, "lt", "less than {}")
    if "ge" in found and "le" in found:
        return f"{_number(found['ge'])} to {_number(found['le'])}"
    length = _bound(found, "min_length", "{} or more")
    return ", ".join(part for part in (least, most, length) if part)


def _bound(found: dict[str, Any], name: str, text: str) -> str:
    return text.format(_number(found[name])) if name in found else ""


def _number(value: float) -> str:
    return f"{value:,g}" if value != int(value) else f"{int(value):,}"


def _placeholder(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("placeholder", "NAME")) if isinstance(extra, dict) else "NAME"


def _where(model: type[BaseModel]) -> str:
    try:
        return f"{inspect.getsourcefile(model)}:{inspect.getsourcelines(model)[1]}"
    except (OSError, TypeError):
        return f"{model.__module__}.{model.__qualname__}"
