"""Counts of what happens, cheap enough for the hot path; :mod:`xmppchat.network.metrics` shows them.

Keys come from fixed sets only (kinds of stanza, SASL mechanisms), so that nobody outside can make them grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence


class Histogram:
    """How many observations were at most as large as each of `bounds` (ascending); the last count is of all others."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Counts:
    """What a worker has handled since it started."""

    __slots__ = ("logins", "pushes", "received", "resumptions", "sent", "unencrypted")

    def __init__(self) -> None:
        #: Stanzas from clients and to clients, by kind.
        self.received = {"message": 0, "presence": 0, "iq": 0}
        self.sent = {"message": 0, "presence": 0, "iq": 0}
        #: Former sessions that clients asked for (XEP-0198 §5), by whether they got them.
        self.resumptions = {"resumed": 0, "failed": 0}
        #: Notifications to push services (XEP-0357) by what came of them, from a fixed set.
        self.pushes: Counter[str] = Counter()
        #: Messages without encryption at hosts that want it, by what came of them.
        self.unencrypted = {"refused": 0, "passed": 0}
        #: Ends of SASL exchanges by (mechanism, "success" or the condition of the failure).
        self.logins: Counter[tuple[str, str]] = Counter()
