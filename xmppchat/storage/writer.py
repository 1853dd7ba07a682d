"""The group-commit writer: all writes of the process, one transaction for whatever arrived meanwhile (ADR 5).

While a transaction runs, tickets collect; what has collected when it ends is the next transaction. A batch in which
one ticket is poisoned is done again with a savepoint for each ticket, in order: only the poisoned ones fail. Here are
what all databases share and the writer for SQLite, where a batch is one hop to the writer's own thread, whatever it
holds. Figures: docs/adr/0005-commit-gate.md.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy import Connection, Engine

from xmppchat.core.commit_gate import Settled, StorageUnavailable, Write, WriteConflict
from xmppchat.core.counts import Histogram
from xmppchat.core.crash_points import crash_point
from xmppchat.storage.batches import Group, Ticket, arrange
from xmppchat.storage.faults import translate
from xmppchat.storage.plain import plain
from xmppchat.storage.threads import ConnectionThreads

log = structlog.get_logger(__name__)

#: Tickets in one transaction: bounds how long the last one waits for the first.
MAX_BATCH = 1_000

#: Bounds of the latency histogram, s: from a fast disk's flush to what people notice.
_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

Result = tuple[int, BaseException | None]


class GroupCommit(ABC):
    """Takes tickets without blocking, commits them in order, tells `on_settled` of each batch, on the loop.

    A ticket's error is :class:`WriteConflict` where it breaks a uniqueness or integrity rule,
    :class:`StorageUnavailable` where the database cannot write at all (then the whole batch has it), else what the
    driver raised: a mistake of this program's, and logged.

    For metrics: `batches` committed or failed, `tickets` in them, `failed` tickets among those, the `largest` batch,
    the `latency` of batches from being handed over until the loop hears of their end.
    """

    def __init__(self, on_settled: Settled | None = None, *, max_batch: int = MAX_BATCH) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Ticket] = deque()
        self._max_batch = max_batch
        self._is_busy = False  # a batch runs or is about to
        self._is_closed = False
        self._idle: asyncio.Future[None] | None = None
        self._in_transaction = 0
        #: Called with (ticket, error or None) of each ticket of a batch, in order. To be set before the first ticket.
        self.on_settled: Settled = on_settled or _nobody
        self.batches = 0
        self.tickets = 0
        self.failed = 0
        self.largest = 0
        self.latency = Histogram(_LATENCIES)
        self._handed_over = 0.0

    @property
    def pending(self) -> int:
        """Tickets that have not settled."""
        return len(self._queue) + self._in_transaction

    @abstractmethod
    async def start(self) -> None:
        """Open the connection. Tickets may have been submitted before."""

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        """See :class:`~xmppchat.core.commit_gate.Writer`. Raises RuntimeError after :meth:`close`."""
        if self._is_closed:
            raise RuntimeError("the writer is closed")
        self._queue.append((ticket, writes))
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._hand_over)  # not at once: more may come in this turn of the loop

    async def close(self) -> None:
        """Write what is queued, and what is submitted in consequence; tell of it, then end."""
        while self._is_busy:
            self._idle = self._loop.create_future()
            await self._idle
        self._is_closed = True

    @abstractmethod
    def _begin(self, batch: list[Ticket]) -> None:
        """Begin to commit `batch`; in the end :meth:`_settle` is called, on the loop."""

    def _hand_over(self) -> None:
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), self._max_batch))]
        self._in_transaction = len(batch)
        self._handed_over = time.monotonic()
        self._begin(batch)

    def _settle(self, batch: list[Ticket], results: list[Result], failure: BaseException | None) -> None:
        if failure is not None:
            results = [(number, failure) for number, _ in batch]
        self._in_transaction = 0
        self.latency.observe(time.monotonic() - self._handed_over)
        self.batches += 1
        self.tickets += len(results)
        self.largest = max(self.largest, len(results))
        self.failed += sum(error is not None for _, error in results)
        if self._queue:
            self._hand_over()  # first: the disk works while the loop lets go what was committed
        else:
            self._is_busy = False
        try:
            self.on_settled(results)
        finally:
            if self._idle is not None and not self._is_busy and not self._idle.done():
                self._idle.set_result(None)


class GroupCommitWriter(GroupCommit):
    """The writer for SQLite: a batch is one hop to its own thread.

    A lock of another program's is waited for as long as the engine's busy timeout says.
    """

    def __init__(self, engine: Engine, on_settled: Settled | None = None, *, max_batch: int = MAX_BATCH) -> None:
        super().__init__(on_settled, max_batch=max_batch)
        self._thread = ConnectionThreads(engine.connect, name="database-writer")

    async def start(self) -> None:
        """See :meth:`GroupCommit.start`."""
        await self._thread.start()

    async def close(self) -> None:
        """See :meth:`GroupCommit.close`."""
        await super().close()
        await self._thread.close()

    def _begin(self, batch: list[Ticket]) -> None:
        self._thread.post(_commit, (batch,), partial(self._settle, batch))


def _nobody(results: Sequence[Result]) -> None:
    raise RuntimeError(f"nobody is told of {len(results)} tickets: on_settled was not set")


def report(error: BaseException, *, tickets: int) -> None:
    """Log that tickets failed with `error`."""
    if isinstance(error, StorageUnavailable):
        log.error("the database cannot be written; senders are told to try again", reason=str(error), tickets=tickets)
    elif isinstance(error, WriteConflict):
        log.info("a write was refused", reason=str(error), tickets=tickets)
    else:
        log.error("a write is broken", tickets=tickets, exc_info=error)


# --- on the writer's thread -----------------------------------------------------------------------------------------

def _commit(connection: Connection, batch: list[Ticket]) -> list[Result]:
    """One transaction for the batch; a second one if it was poisoned."""
    try:
        with connection.begin():
            for group in arrange(batch):
                _execute(connection, group)
            crash_point("before-commit")
        results: list[Result] = [(number, None) for number, _ in batch]
    except Exception as error:
        _end_transaction(connection)
        results = _recover(connection, batch, translate(error))
    crash_point("after-commit-before-release")
    return results


def _execute(connection: Connection, group: Group) -> None:
    text = plain(group.statement, group.rows[0]) if group.is_many else None
    if text is not None:
        for sql, arguments in text.calls(group.rows):
            connection.exec_driver_sql(sql, arguments)
        return
    connection.execute(group.statement, group.rows if group.is_many else group.rows[0])


def _recover(connection: Connection, batch: list[Ticket], error: BaseException) -> list[Result]:
    """The batch failed with `error` and nothing of it is stored: find out which tickets are to blame."""
    if len(batch) > 1 and not isinstance(error, StorageUnavailable):
        try:
            with connection.begin():
                results = [(ticket[0], _commit_alone(connection, ticket)) for ticket in batch]
                crash_point("before-commit")
        except Exception as failure:  # also a COMMIT that fails: then no ticket is better than another
            error = translate(failure)
        else:
            return results
        _end_transaction(connection)
    report(error, tickets=len(batch))
    return [(number, error) for number, _ in batch]


def _end_transaction(connection: Connection) -> None:
    """Leave nothing open: after a COMMIT or ROLLBACK that failed, the driver may still be in the transaction."""
    if not connection.invalidated:
        try:
            connection.connection.rollback()
        except Exception:
            connection.invalidate()  # the next batch opens another connection


def _commit_alone(connection: Connection, ticket: Ticket) -> BaseException | None:
    """Execute a ticket's writes, or none of them; returns its error."""
    savepoint = connection.begin_nested()
    try:
        for group in arrange([ticket]):
            _execute(connection, group)
        savepoint.commit()
    except Exception as error:
        fault = translate(error)
        if isinstance(fault, StorageUnavailable):
            raise  # the database may have ended the transaction by itself
        savepoint.rollback()
        report(fault, tickets=1)
        return fault
    return None
