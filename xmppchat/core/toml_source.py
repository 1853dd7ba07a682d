"""Where in a TOML text an option stands, so that a fault can name its line.

:mod:`tomllib` tells no positions. This finder knows tables and keys, which is enough: what it cannot place
gets the line of the table around it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

Path = tuple[str, ...]

_HEADER = re.compile(r"\s*(\[\[?.*?\]?\])\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_.\- ]|"[^"]*"|'[^']*')+?)\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def find_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of each table and key in `text`."""
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        path = _path_of(header.group(1)) if header else None
        if path is not None:
            table = path
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        path = _path_of(f"{key.group(1)} = 0") if key else None
        if path is not None:
            lines.setdefault(table + path, number)
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


def _path_of(snippet: str) -> Path | None:
    try:
        value: Any = tomllib.loads(snippet)
    except tomllib.TOMLDecodeError:
        return None
    path: list[str] = []
    while isinstance(value, dict | list) and value:
        if isinstance(value, list):
            value = value[0]
        else:
            key, value = next(iter(value.items()))
            path.append(key)
    return tuple(path) or None
