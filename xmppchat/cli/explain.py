"""``xmppchat config explain``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from xmppchat.cli import environment
from xmppchat.cli.faults import CliError
from xmppchat.core.config import ConfigError, ServerConfig
from xmppchat.core.config import explain as find
from xmppchat.core.options import Option, toml_value


def explain(key: str, config: str, *, as_json: bool) -> None:
    """Print the options that `key` means, with their present values where there is a configuration."""
    try:
        found = find(environment.component_classes(given=config), key)
    except KeyError as error:
        raise CliError(error.args[0]) from None
    loaded = _loaded(config)
    if as_json:
        print(json.dumps([_object(option, loaded) for option in found], ensure_ascii=False, indent=2, default=str))
        return
    print("\n\n".join(_text(option, loaded) for option in found))


def _loaded(config: str) -> ServerConfig | None:
    """The configuration, if there is one; a named one has to be right."""
    try:
        return environment.load(config)
    except ConfigError:
        if config:
            raise
        return None


def _text(option: Option, loaded: ServerConfig | None) -> str:
    lines = [option.key, f"  {option.description}", f"  {type_and_bounds(option)}"]
    if option.is_required:
        lines.append("  required")
    else:
        lines.append(f"  default: {toml_value(option.default)}")
    value = _value(option, loaded)
    if value is not None and value != option.default:
        lines.append(f"  here: {toml_value(value)}")
    return "\n".join(lines)


def type_and_bounds(option: Option) -> str:
    """ "whole number, 1 to 20, in s"."""
    unit = f"in {option.unit}" if option.unit and not option.unit.startswith("per ") else option.unit
    return ", ".join(part for part in (option.type, option.bounds, unit) if part)


def _object(option: Option, loaded: ServerConfig | None) -> dict[str, object]:
    return {
        "key": option.key,
        "description": option.description,
        "type": option.type,
        "bounds": option.bounds,
        "unit": option.unit,
        "required": option.is_required,
        "default": option.default,
        "value": _value(option, loaded),
    }


def _value(option: Option, loaded: ServerConfig | None) -> object:
    current: Any = loaded
    for name in option.key.replace("components.", "component_options.", 1).split("."):
        if isinstance(current, Mapping):
            current = current.get(name)
        elif isinstance(current, BaseModel | ServerConfig):
            current = getattr(current, name, None)
        else:
            return None
    return current
