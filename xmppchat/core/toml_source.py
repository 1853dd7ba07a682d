"""Where in a TOML text an option stands, so that a fault can name its line.

:mod:`tomllib` tells no positions. This finder cuts a valid text into its statements and lets tomllib read each.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

Path = tuple[str, ...]

_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def find_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of each table and key in `text`, which is valid TOML."""
    lines: dict[Path, int] = {}
    table: Path = ()
    begin, statement = 0, ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        begin, statement = (begin, f"{statement}\n{line}") if statement else (number, line)
        try:
            value = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        is_table = statement.lstrip().startswith("[")
        statement = ""
        paths = _paths(value)
        if is_table and paths:
            table = paths[-1]
            paths = [()]
        for path in paths:
            lines.setdefault(table + path, begin)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of the innermost part of `path` that is written down; 1 where none is."""
    for size in range(len(path), 0, -1):
        line = lines.get(path[:size])
        if line is not None:
            return line
        # [a.b] alone defines a, too.
        inner = [number for other, number in lines.items() if other[:size] == path[:size]]
        if inner:
            return min(inner)
    return 1


def syntax_fault(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """(line, what is wrong) of a text that is no TOML."""
    message = str(error)
    match = _AT_LINE.search(message)
    line = int(match.group(1)) if match else max(1, len(text.splitlines()))
    return line, _AT_LINE.sub("", message).replace("(at end of document)", "at the end of the file").strip()


def _paths(value: dict[str, Any]) -> list[Path]:
    """The path of everything in `value`, outer before inner. Of tables in a list the first stands for all."""
    found: list[Path] = []
    for key, inner in value.items():
        found.append((key,))
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            inner = inner[0]
        if isinstance(inner, dict):
            found += [(key, *path) for path in _paths(inner)]
    return found
