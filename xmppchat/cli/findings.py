"""What checks find: one line about one thing, and how lines are shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import NamedTuple

OK, WARNING, ERROR = "ok", "warning", "error"

_COLOURS: Mapping[str, str] = {
    "ok": "32", "pass": "32", "warning": "33", "note": "33", "error": "31", "fail": "31", "not yet": "36",
    "not checked": "35",
}  # fmt: skip


class Line(NamedTuple):
    """What was found about one thing: "ok", "warning" or "error", and a sentence with the next step."""

    severity: str
    text: str


def show(lines: Iterable[Line], *, as_json: bool) -> list[Line]:
    """Print the lines as they come, unless they are wanted in JSON later; returns them."""
    found: list[Line] = []
    for line in lines:
        found.append(line)
        if not as_json:
            print(f"{coloured(line.severity)}: {line.text}", flush=True)
    return found


def status(lines: Iterable[Line]) -> int:
    """The exit status: 1 where one is an error."""
    return int(any(line.severity == ERROR for line in lines))


def as_json(lines: Iterable[Line], results: Iterable[object] | None) -> str:
    """``{"check": [{"severity", "text"} …]}``, with ``"self"`` where there are results of a self-check."""
    found: dict[str, object] = {"check": [line._asdict() for line in lines]}
    if results is not None:
        found["self"] = [asdict(result) for result in results]  # type: ignore[call-overload]
    return json.dumps(found, ensure_ascii=False, indent=2)


def coloured(word: str, width: int = 0) -> str:
    """`word` in the colour of what it says, where standard output is a terminal and nobody minds (no-color.org)."""
    text = word.ljust(width)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or word not in _COLOURS:
        return text
    return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m"


