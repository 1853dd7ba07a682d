"""How results are shown: a list of objects as a table, an object as lines, or all as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence


def show(result: object, *, as_json: bool) -> None:
    """Print the result of a command to standard output."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2, default=str))
    elif isinstance(result, list | tuple):
        if result and all(isinstance(row, Mapping) for row in result):
            print(table(result))
        elif result:
            print("\n".join(cell(item) for item in result))
        else:
            print("none", file=sys.stderr)  # for people; a program that counts lines sees none
    elif isinstance(result, Mapping):
        for name, value in result.items():
            is_names = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
            print(f"{name}: {', '.join(map(cell, value)) or 'nothing' if is_names else cell(value)}")
    elif isinstance(result, str):
        print("\n".join(cell(line) for line in result.split("\n")))
    elif result is not None:
        print(cell(result))


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Aligned columns under their names."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[name.upper() for name in columns], *([cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def cell(value: object) -> str:
    """A value for a terminal: what others chose (a resource, a name) must not steer it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
