"""What is wrong with a configuration file, in sentences with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from xmppchat.core import toml_source
from xmppchat.core.options import closest, dotted, inner_model, options, toml_value


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `line` is 0 where it concerns the file as a whole."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


class ConfigError(Exception):
    """A configuration cannot be used; `faults` are all there are, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.line)
        super().__init__("\n".join(map(str, self.faults)))


def collect(
    error: ValidationError, model: type[BaseModel], path: Path, lines: dict[toml_source.Path, int]
) -> list[Fault]:
    """The faults that pydantic found in the file at `path`."""
    faults = []
    for detail in error.errors(include_url=False):
        names = _names(detail["loc"])
        line = toml_source.line_of(lines, names)
        faults.append(Fault(path, line, _sentence(dict(detail), names, model)))
    return faults


def _sentence(detail: dict[str, Any], names: tuple[str, ...], model: type[BaseModel]) -> str:
    key = dotted(names)
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown(names, model)
    if names == ("hosts",) and kind in ("missing", "too_short"):
        return (
            'no host: add a table [hosts."chat.example"] with certificate and key for each domain you serve'
        )
    field = _field(names, model)
    about = f" ({field.description})" if field is not None and field.description else ""
    if kind == "missing":
        return f"{key} is missing{about}"
    if kind == "value_error":
        return f"{key}: {detail['ctx']['error']}"
    given = detail["input"]
    shown = f" = {toml_value(given)}" if isinstance(given, str | int | float) else ""
    message = detail["msg"].removeprefix("Input ")
    guess = None
    if kind == "literal_error" and isinstance(given, str):
        guess = closest(
            given, [part.strip("' ") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(",")]
        )
    hint = f"; did you mean {toml_value(guess)}?" if guess else ""
    return f"{key}{shown}: {message[:1].lower()}{message[1:]}{hint}{about}"


def _unknown(names: tuple[str, ...], model: type[BaseModel]) -> str:
    siblings = _model_at(names[:-1], model)
    guess = closest(names[-1], siblings.model_fields if siblings else ())
    what = "component" if names[:-1] == ("components",) else "option"
    text = f"there is no {what} {dotted(names)}"
    if guess:
        return f"{text}; did you mean {dotted((*names[:-1], guess))}?"
    elsewhere = [option for option in options(model) if option.name == names[-1] and option.table]
    if elsewhere:
        return f"{text}; did you mean {elsewhere[0].name} in [{elsewhere[0].table}]?"
    return text


def _names(location: Sequence[object]) -> tuple[str, ...]:
    names: list[str] = []
    for part in location:
        if not isinstance(part, str):
            break  # an item of a list has no line of its own
        names.append(part)
    return tuple(names)


def _model_at(names: Sequence[str], model: type[BaseModel]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    rest = list(names)
    while rest and current is not None:
        field = current.model_fields.get(rest.pop(0))
        if field is None:
            return None
        current, is_table = inner_model(field)
        if is_table and rest:
            rest.pop(0)
    return current


def _field(names: Sequence[str], model: type[BaseModel]) -> FieldInfo | None:
    parent = _model_at(names[:-1], model)
    return parent.model_fields.get(names[-1]) if parent is not None and names else None
