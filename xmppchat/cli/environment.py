"""What the command line finds where it is run: the configuration file, and the components that it names."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmppchat.cli.app import CONFIG_VARIABLE
from xmppchat.core.component import Component
from xmppchat.core.config import ServerConfig, components_in, load_config

DEFAULT = "xmppchat.toml"


def config_path(given: str) -> Path:
    """The configuration file: the one given, else that of this directory, else that of the environment."""
    if given:
        return Path(given)
    here = Path(DEFAULT)
    elsewhere = os.environ.get(CONFIG_VARIABLE, "")
    return here if here.exists() or not elsewhere else Path(elsewhere)


def load(given: str) -> ServerConfig:
    """The configuration of `--config` or the default place. Raises ConfigError."""
    from xmppchat.components import BUILTIN

    return load_config(config_path(given), BUILTIN)


def component_classes(arguments: Sequence[str] = (), given: str = "") -> tuple[type[Component[Any]], ...]:
    """The built-in components and those that the configuration loads, for help and commands.

    A file with faults brings the built-in ones alone: the command itself will tell the faults.
    """
    from xmppchat.components import BUILTIN

    try:
        values = tomllib.loads(config_path(given or _config_argument(arguments)).read_text(encoding="utf-8"))
        modules = values["components"]["load"]
    except (OSError, ValueError, KeyError, TypeError):
        return BUILTIN
    found = list(BUILTIN)
    for module in modules:
        try:
            found += [cls for cls in components_in(module) if cls not in found]
        except Exception:  # noqa: S112  whatever a foreign module does; loading the file reports it
            continue
    return tuple(found)


def _config_argument(arguments: Sequence[str]) -> str:
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--config="):
            return argument.removeprefix("--config=")
    return ""
