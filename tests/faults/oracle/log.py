"""What a client did and saw, one JSON object a line; the time is the machine's monotonic clock, the same for all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: A line of a log.
Event = dict[str, Any]


class Log:
    """The log of one client. A line is with the operating system before the call returns."""

    def __init__(self, path: Path, client: str) -> None:
        self._client = client
        self._file = path.open("ab", buffering=0)

    def write(self, event: str, **fields: Any) -> None:
        """Add an event; fields that are None are left out."""
        line = {"t": round(time.monotonic(), 6), "client": self._client, "event": event}
        line.update((name, value) for name, value in fields.items() if value is not None)
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """No more events."""
        self._file.close()


def read(path: Path) -> Iterator[Event]:
    """The events of a log, in order."""
    with path.open("rb") as lines:
        for line in lines:
            yield json.loads(line)
