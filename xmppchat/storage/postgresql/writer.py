"""The group-commit writer for PostgreSQL: one connection, one transaction for whatever arrived meanwhile (ADR 5, 9).

Each transaction leaves a mark in the database. If the connection is lost after COMMIT was sent, that tells whether it
was committed: nothing is told to anybody before that is known, however long it takes. What is known not to be
committed is done again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog
from asyncpg import Connection

from xmppchat.core.commit_gate import Settled, StorageUnavailable
from xmppchat.core.crash_points import crash_point
from xmppchat.storage.batches import Group, Ticket, arrange
from xmppchat.storage.postgresql.faults import is_lost, reason, translate
from xmppchat.storage.postgresql.link import LONGEST_PAUSE, Link, roll_back
from xmppchat.storage.postgresql.ownership import SLOTS, TABLE, Ownership
from xmppchat.storage.postgresql.statements import prepare
from xmppchat.storage.writer import MAX_BATCH, GroupCommit, Result, report

log = structlog.get_logger(__name__)

# One message to the server. The first row stays locked to the end of the transaction: another server cannot begin
# before that, nor this one afterwards.
_BEGIN = (
    f"BEGIN; WITH mine AS (SELECT FROM {TABLE} WHERE slot = 0 AND value = {{epoch}} FOR SHARE) "  # noqa: S608
    f"UPDATE {TABLE} SET value = {{mark.value}} FROM mine WHERE slot = {{mark.slot}}"
)
# Waits for a transaction that is still about to end.
_LOOK = f"SELECT value FROM {TABLE} WHERE slot = $1 FOR UPDATE"  # noqa: S608

Work = Callable[[Connection, Sequence[Ticket]], Awaitable[list[Result]]]


class _Lost(Exception):
    """The connection is lost, and the transaction is not committed."""


class _Mark(NamedTuple):
    slot: int
    value: int


class PostgresqlWriter(GroupCommit):
    """See :class:`~xmppchat.storage.writer.GroupCommit`.

    `patience`: how long a lost connection, or a lock of another program's, is waited for until tickets fail, s.
    """

    def __init__(
        self,
        link: Link,
        owner: Ownership,
        on_settled: Settled | None = None,
        *,
        patience: float,
        max_batch: int = MAX_BATCH,
    ) -> None:
        super().__init__(on_settled, max_batch=max_batch)
        self._link = link
        self._owner = owner
        self._patience = patience
        self._transactions = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the connection. Raises :class:`~xmppchat.storage.faults.DatabaseError`."""
        await self._link.open()

    async def close(self) -> None:
        """See :meth:`GroupCommit.close`."""
        await super().close()
        await self._link.close()

    def _begin(self, batch: list[Ticket]) -> None:
        self._task = self._loop.create_task(self._run(batch), name="database writer")

    async def _run(self, batch: list[Ticket]) -> None:
        results: list[Result] = []
        failure: BaseException | None = None
        try:
            results = await self._commit(batch)
        except Exception as error:
            failure = error
            report(error, tickets=len(batch))
        # Not from here: what a listener raises is the loop's to report.
        self._loop.call_soon(self._settle, batch, results, failure)

    async def _commit(self, batch: list[Ticket]) -> list[Result]:
        """Try until it is committed or has failed. Raises the error of all its tickets."""
        deadline = self._loop.time() + self._patience
        while True:
            connection = await self._link.use(self._patience)
            try:
                results = await self._attempt(connection, batch)
            except _Lost as lost:
                if self._loop.time() > deadline:
                    raise StorageUnavailable(str(lost)) from None
                log.warning("the connection to the database is lost; its transaction is done again", reason=str(lost))
                continue
            crash_point("after-commit-before-release")
            return results

    async def _attempt(self, connection: Connection, batch: list[Ticket]) -> list[Result]:
        """One transaction for the batch; a second one if it was poisoned."""
        try:
            return await self._transaction(connection, batch, _together)
        except _Lost:
            raise
        except Exception as failure:
            error = translate(failure)
        if len(batch) == 1 or isinstance(error, StorageUnavailable):
            raise error from None
        try:
            return await self._transaction(connection, batch, _one_by_one)
        except _Lost:
            raise
        except Exception as failure:  # also a COMMIT that fails: then no ticket is better than another
            raise translate(failure) from None

    async def _transaction(self, connection: Connection, batch: list[Ticket], work: Work) -> list[Result]:
        """Do `work` in a transaction. Raises :class:`_Lost`, or what the work does; then nothing is stored."""
        mark = self._next_mark()
        try:
            if self._owner.refusal:
                raise StorageUnavailable(self._owner.refusal)
            if await connection.execute(_BEGIN.format(epoch=self._owner.epoch, mark=mark)) != "UPDATE 1":
                self._owner.refuse("another server has begun to use the database")
                raise StorageUnavailable(self._owner.refusal)
            results = await work(connection, batch)
            crash_point("before-commit")
        except Exception as error:
            if is_lost(error):
                raise _Lost(reason(error)) from None
            await roll_back(connection)
            raise
        try:
            await connection.execute("COMMIT")
        except Exception as error:
            if not is_lost(error):
                await roll_back(connection)
                raise
            log.warning("the connection to the database is lost during a commit", reason=reason(error))
            if not await self._is_committed(mark):
                raise _Lost(reason(error)) from None
            log.info("the transaction was committed before the connection was lost")
        return results

    def _next_mark(self) -> _Mark:
        self._transactions += 1
        return _Mark(1 + self._transactions % SLOTS, secrets.randbits(62))

    async def _is_committed(self, mark: _Mark) -> bool:
        """Whether the transaction with that mark was committed; returns when that is certain."""
        while True:
            connection = await self._link.use(None)
            try:
                return bool(await connection.fetchval(_LOOK, mark.slot) == mark.value)
            except Exception as error:
                log.warning("the database does not tell whether a transaction was committed", reason=reason(error))
                await asyncio.sleep(LONGEST_PAUSE)


async def _together(connection: Connection, batch: Sequence[Ticket]) -> list[Result]:
    for group in arrange(batch):
        await _execute(connection, group)
    return [(number, None) for number, _ in batch]


async def _one_by_one(connection: Connection, batch: Sequence[Ticket]) -> list[Result]:
    return [(ticket[0], await _alone(connection, ticket)) for ticket in batch]


async def _alone(connection: Connection, ticket: Ticket) -> BaseException | None:
    """Execute a ticket's writes, or none of them; returns its error."""
    await connection.execute("SAVEPOINT ticket")
    try:
        for group in arrange([ticket]):
            await _execute(connection, group)
    except Exception as error:
        fault = translate(error)
        if isinstance(fault, StorageUnavailable):
            raise
        await connection.execute("ROLLBACK TO SAVEPOINT ticket; RELEASE SAVEPOINT ticket")
        report(fault, tickets=1)
        return fault
    await connection.execute("RELEASE SAVEPOINT ticket")
    return None


async def _execute(connection: Connection, group: Group) -> None:
    rows = group.rows
    prepared = prepare(group.statement, rows[0])
    if len(rows) == 1:
        text, arguments = prepared.call(rows[0])
        await connection.execute(text, *arguments)
    else:
        await connection.executemany(prepared.sql, [prepared.arguments(row) for row in rows])
