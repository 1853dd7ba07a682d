"""Slots: each session has one query of the archive running, and begins only so many in a second (limit 25).

Those that wait are bounded by the session itself: who has too much under way is not read any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xmppchat.core.kernel import Kernel
from xmppchat.core.rates import TokenBucket
from xmppchat.core.session import Session

#: Seconds of the rate that a client may use at once: a login asks for several pages.
_BURST_SECONDS = 4


class _Slot:
    __slots__ = ("bucket", "lock")

    def __init__(self, bucket: TokenBucket | None) -> None:
        self.lock = asyncio.Lock()
        self.bucket = bucket


class QuerySlots:
    """Who may read an archive now."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._slots: dict[Session, _Slot] = {}

    @asynccontextmanager
    async def turn_of(self, session: Session) -> AsyncIterator[None]:
        """Wait until `session` may begin a query, which runs inside."""
        slot = self._slots.get(session)
        if slot is None:
            slot = _Slot(self._bucket())
            if not session.is_closed:
                self._slots[session] = slot
        async with slot.lock:
            clock = self._kernel.clock
            wait = slot.bucket.take(clock.monotonic(), 1) if slot.bucket is not None else 0.0
            if wait > 0:
                self._kernel.limit_counters.fired("archive_query_rate")
                due = asyncio.Event()
                clock.call_later(wait, due.set)
                await due.wait()
            yield

    def _bucket(self) -> TokenBucket | None:
        rate = self._kernel.limits.archive_query_rate
        return TokenBucket(rate, rate * _BURST_SECONDS, self._kernel.clock.monotonic()) if rate else None

    def forget(self, session: Session) -> None:
        """The session has ended."""
        self._slots.pop(session, None)

    def reconfigured(self) -> None:
        """The rate is another."""
        for slot in self._slots.values():
            slot.bucket = self._bucket()
