"""How often one kind of record is written (reliability.md, limit 54): so many a second, the others are counted.

What an attacker makes the server log must not fill its disk. The count is told once the second is over, before the
next record of any kind. Debugging is not limited: who asks for it wants to see it all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import structlog

#: Records of one kind that are written in a second.
PER_SECOND = 10
#: Kinds that are counted at one time; then counting begins anew.
MAX_KINDS = 1_000


class LogRate:
    """Counts records by kind: the event's name, or of another library its logger's. `now` is in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._second = 0
        self._counts: dict[str, int] = {}

    def admits(self, kind: str) -> bool:
        """Whether one more record of this kind is written now."""
        if kind not in self._counts and len(self._counts) >= MAX_KINDS:
            kind = "…"  # new kinds without end are one
        self._counts[kind] = count = self._counts.get(kind, 0) + 1
        return count <= PER_SECOND

    def left_out(self) -> Iterator[tuple[str, int]]:
        """Of the seconds that are over: each kind, and how many of its records were left out."""
        second = int(self._now())
        if second == self._second:
            return
        counts, self._counts, self._second = self._counts, {}, second
        for kind, count in counts.items():
            if count > PER_SECOND:
                yield kind, count - PER_SECOND


class Limiter:
    """Applies a rate to our records, as a processor of structlog, and to other libraries', as a filter of `logging`.

    `summary` writes one record about what was left out, of a kind and a number.
    """

    def __init__(self, rate: LogRate, summary: Callable[[str, int], object]) -> None:
        self._rate = rate
        self._summary = summary

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Let `event` through, or drop it."""
        if method != "debug" and not self._admits(str(event.get("event", ""))[:100]):
            raise structlog.DropEvent
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """See :class:`logging.Filter`."""
        return self._admits(record.name)

    def _admits(self, kind: str) -> bool:
        for left_out, number in self._rate.left_out():
            self._summary(left_out, number)
        return self._rate.admits(kind)
