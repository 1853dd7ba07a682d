"""The commit gate: what a stanza causes is shown to nobody before its writes are on disk (ADR 5).

Each set of writes gets a *ticket*. Tickets are numbered in order and settle in order: committed, or failed alone.
A :class:`~xmppchat.core.turn.Turn` leaves when the ticket it waits for has settled; with nothing open it leaves at
once. Reasons and measurements: docs/adr/0005-commit-gate.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Write(NamedTuple):
    """One statement of a ticket: an SQLAlchemy Core executable and its bound parameters.

    The same kind of write uses the same statement *object*, so that writes can be grouped.
    """

    statement: Any
    parameters: Mapping[str, Any]


class WriteConflict(Exception):
    """A write would break a uniqueness or integrity rule; nothing of its ticket was stored."""


class StorageUnavailable(Exception):
    """The database cannot write now (full, locked, broken); nothing of the ticket was stored. Try again later."""


#: Results of one batch in ticket order: (ticket, None for committed or the error that failed it). On the event loop.
Settled = Callable[[Sequence[tuple[int, BaseException | None]]], None]


class Writer(Protocol):
    """Where tickets go; the group-commit writer of :mod:`xmppchat.storage` in production."""

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        """Take a ticket; never blocks. Tickets come in increasing order."""


class Waiting(Protocol):
    """What waits for a ticket."""

    def settle(self, error: BaseException | None) -> None:
        """The ticket has settled; `error` is None when it is committed, and always for those that only wait."""


class CommitGate:
    """Issues tickets and lets go what waits for them, in order.

    `last` is the newest ticket issued, `settled` the newest that has settled: a ticket is open while it is greater.
    """

    __slots__ = ("_waiting", "_writer", "last", "settled")

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: deque[tuple[int, list[tuple[bool, Waiting]]]] = deque()
        self.last = 0
        self.settled = 0

    def submit(self, writes: Sequence[Write], owner: Waiting) -> int:
        """Open a ticket for `writes`; `owner` is settled with its outcome."""
        self.last = ticket = self.last + 1
        self._waiting.append((ticket, [(True, owner)]))
        self._writer.submit(ticket, writes)
        return ticket

    def wait(self, ticket: int, waiting: Waiting) -> None:
        """Settle `waiting` behind everything that waits for `ticket` already; at once if it is not open."""
        if ticket <= self.settled:
            waiting.settle(None)
            return
        self._waiting[ticket - self._waiting[0][0]][1].append((False, waiting))

    async def committed(self, ticket: int) -> None:
        """Return once `ticket` has settled, however."""
        if ticket > self.settled:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.wait(ticket, _Awaited(future))
            await future

    async def drained(self) -> None:
        """Return once no ticket is open."""
        while self.last > self.settled:
            await self.committed(self.last)

    def on_settled(self, results: Sequence[tuple[int, BaseException | None]]) -> None:
        """What the writer calls: results of a batch, in ticket order."""
        for ticket, error in results:
            number, waiting = self._waiting.popleft()
            assert number == ticket, f"ticket {ticket} settled before {number}"
            self.settled = ticket
            # What a release opens or waits for comes behind: it never lands in this list.
            for is_owner, one in waiting:
                one.settle(error if is_owner else None)


class _Awaited:
    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def settle(self, error: BaseException | None) -> None:
        if not self.future.done():
            self.future.set_result(None)
