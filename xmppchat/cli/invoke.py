"""Runs a command: through the control socket of a running server, else in this process."""

from __future__ import annotations

import asyncio
import getpass
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from xmppchat.cli import environment, output
from xmppchat.cli.faults import CliError
from xmppchat.core import logs
from xmppchat.core.commands import CommandSpec
from xmppchat.core.config import ServerConfig
from xmppchat.network import control


def invoke(
    spec: CommandSpec,
    arguments: Mapping[str, Any],
    from_stdin: Mapping[str, bool],
    config: str,
    *,
    as_json: bool,
) -> None:
    """Run `spec` and print its result. Secrets are read from standard input or asked for at the terminal."""
    loaded = environment.load(config)
    values: dict[str, object] = {name: _plain(value) for name, value in arguments.items()}
    for parameter in spec.parameters:
        if parameter.secret:
            values[parameter.name] = read_secret(parameter.name, parameter.option, stdin=from_stdin[parameter.name])
    output.show(run(loaded, spec.name, values), as_json=as_json)


def run(config: ServerConfig, name: str, arguments: dict[str, object]) -> object:
    """The result of a command, wherever it has to run."""
    results: list[object] = []
    run_many(config, name, [arguments], results.append)
    return results[0]


def run_many(
    config: ServerConfig, name: str, requests: Iterable[dict[str, object]], done: Callable[[Any], object]
) -> None:
    """Run a command for each of `requests`, wherever it has to run; `done` gets each result."""
    waiting = iter(requests)
    arguments = next(waiting)
    try:
        done(control.call(config.control_socket, name, arguments))
    except control.ServerNotRunning:
        from xmppchat.server import run_commands

        # What a start logs is of no interest to whoever wants a list of accounts.
        logs.configure("warning", config.logging.format)
        asyncio.run(run_commands(config, name, itertools.chain([arguments], waiting), done))
    else:
        for arguments in waiting:
            done(control.call(config.control_socket, name, arguments))


def read_secret(name: str, option: str, *, stdin: bool) -> str:
    """A secret: the first line of standard input, or what is typed twice, unseen, at the terminal."""
    if stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise CliError(f"standard input holds no {name}; write it as the first line")
        return secret
    if not _has_terminal():
        raise CliError(f"there is no terminal to ask for the {name}; use {option}-stdin")
    secret = getpass.getpass(f"{name.capitalize()}: ")
    if not secret:
        raise CliError(f"the {name} is empty; nothing was done")
    if getpass.getpass(f"{name.capitalize()} again: ") != secret:
        raise CliError("the two differ; nothing was done")
    return secret


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def _plain(value: Any) -> object:
    if isinstance(value, Enum):
        return value.value
    # The server may run in another directory.
    return str(value.absolute()) if isinstance(value, Path) else value
