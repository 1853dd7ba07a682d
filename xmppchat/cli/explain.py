"""``xmppchat config explain``."""

from __future__ import annotations

import json

from xmppchat.cli import environment
from xmppchat.cli.faults import CliError
from xmppchat.core.config import ConfigError, ServerConfig
from xmppchat.core.config import explain as find
from xmppchat.core.options import Option, dotted, toml_value


def explain(key: str, config: str, *, as_json: bool) -> None:
    """Print the options that `key` means, with their present values where there is a configuration."""
    try:
        found = find(environment.component_classes(given=config), key)
    except KeyError as error:
        raise CliError(error.args[0]) from None
    loaded = _loaded(config)
    if as_json:
        objects = [_object(option, loaded, key) for option in found]
        print(json.dumps(objects, ensure_ascii=False, indent=2, default=str))
    else:
        print("\n\n".join(_text(option, loaded, key) for option in found))


def _loaded(config: str) -> ServerConfig | None:
    """The configuration, if there is one; a named one has to be right."""
    try:
        return environment.load(config)
    except ConfigError:
        if config:
            raise
        return None


def _text(option: Option, loaded: ServerConfig | None, key: str) -> str:
    lines = [option.key, f"  {option.description}", f"  {type_and_bounds(option)}"]
    lines.append("  required" if option.is_required else f"  default: {toml_value(option.default)}")
    if loaded is not None:
        for path in _paths(option, loaded, key):
            value, origin = loaded.current(path), loaded.origin(path)
            name = f"{dotted(path)} = " if "DOMAIN" in option.path else ""
            lines.append(f"  now: {name}{toml_value(value)} ({origin or 'the default'})")
    return "\n".join(lines)


def type_and_bounds(option: Option) -> str:
    """What an option may be: "whole number, 1 to 20 s"."""
    bounds = f"{option.bounds} {option.unit}".strip()
    return ", ".join(part for part in (option.type, bounds) if part)


def _object(option: Option, loaded: ServerConfig | None, key: str) -> dict[str, object]:
    paths = [] if loaded is None else _paths(option, loaded, key)
    return {
        "key": option.key,
        "description": option.description,
        "type": option.type,
        "bounds": option.bounds,
        "unit": option.unit,
        "required": option.is_required,
        "default": option.default,
        "values": [
            {"key": dotted(path), "value": loaded.current(path), "set_at": loaded.origin(path) or None}
            for path in paths
            if loaded is not None
        ],
    }


def _paths(option: Option, loaded: ServerConfig, key: str) -> list[tuple[str, ...]]:
    """Where `option` stands in the configuration: once, or once for each domain that `key` does not exclude."""
    if "DOMAIN" not in option.path:
        return [option.path]
    domains = loaded.hosts if option.path[0] == "hosts" else loaded.external_components
    named = [domain for domain in domains if domain in key]
    return [tuple(domain if part == "DOMAIN" else part for part in option.path) for domain in named or domains]
