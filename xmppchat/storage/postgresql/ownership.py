"""One server per database: an advisory lock says so, and a number in the database makes sure of it.

The lock is held by a connection of its own and ends with it, which a server may notice late. So each server writes a
number of its own, the epoch, into the database when it begins, and each transaction of the writer's starts with
a look whether that is still there, which no other server can change before the transaction's end.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from xmppchat.storage.faults import DatabaseError, DatabaseInUse
from xmppchat.storage.postgresql import LOCK
from xmppchat.storage.postgresql.address import Address
from xmppchat.storage.postgresql.faults import is_lost, reason
from xmppchat.storage.postgresql.link import LONGEST_PAUSE, Link

log = structlog.get_logger(__name__)

#: Where the epoch is (slot 0), and marks of the writer's transactions (see :mod:`.marks`).
TABLE = "writer_marks"
#: Marks are kept for as many transactions. They take turns, so that old versions of one row stay few even while a long
#: query (a backup) keeps the server from clearing them away.
SLOTS = 1_000
#: Pause between two looks whether the server answers, and how long it may take to, s.
HEARTBEAT = 10.0
#: How long the lock of a process that has just died may stay, s; a machine that dies keeps it for half a minute.
GRACE_SECONDS = 1.0
#: Pause between attempts to get the lock, s.
_PAUSE = 0.05
#: How long a transaction of a server that was here before may hold up this one's start, s.
CLAIM_SECONDS = 60.0

_HOLDER = f"""
    SELECT activity.pid, activity.backend_start, activity.application_name
    FROM pg_locks AS locks JOIN pg_stat_activity AS activity USING (pid)
    WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objid = {LOCK} AND locks.classid = 0
      AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608
_MAKE = f"CREATE TABLE IF NOT EXISTS {TABLE} (slot integer PRIMARY KEY, value bigint NOT NULL)"
_FILL = f"INSERT INTO {TABLE} SELECT slot, 0 FROM generate_series(0, {SLOTS}) AS slot"  # noqa: S608
_CLAIM = f"UPDATE {TABLE} SET value = $1 WHERE slot = 0"  # noqa: S608
_EPOCH = f"SELECT value FROM {TABLE} WHERE slot = 0"  # noqa: S608


class Ownership:
    """The right to write to a database. `refusal` says why it is lost, "" while it is not; then it is lost for good."""

    def __init__(self, address: Address, *, heartbeat: float = HEARTBEAT) -> None:
        self.name = address.name
        self.epoch = secrets.randbits(62)
        self.refusal = ""
        #: Called when the server does not answer: connections that wait for it may wait for ever.
        self.on_silence: Callable[[], object] = lambda: None
        self._heartbeat = heartbeat
        self._link = Link(address, lock_timeout=f"{CLAIM_SECONDS:g}s")
        self._watching: asyncio.Task[None] | None = None

    async def take(self) -> asyncpg.Connection:
        """Take the lock; returns its connection. Raises :class:`DatabaseInUse`, :class:`DatabaseError`."""
        connection = await self._link.open()
        await lock(connection, self.name)
        return connection

    async def claim(self) -> None:
        """From now on no transaction of a server that was here before is committed."""
        connection = await self._link.use(0)
        try:
            async with connection.transaction():
                await set_epoch(connection, self.epoch)
        except asyncpg.LockNotAvailableError:
            raise DatabaseError(
                f"{self.name} has an open transaction of a server that is gone; end it (pg_stat_activity), start again"
            ) from None

    def watch(self) -> None:
        """From now on, take the lock again whenever its connection is lost."""
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="database lock")

    def refuse(self, why: str) -> None:
        """This server may not write any more."""
        if not self.refusal:
            self.refusal = f"{why}; this server writes nothing more: stop it, and let only one serve this database"
            log.critical("the database is not ours any more", database=self.name, reason=self.refusal)

    async def close(self) -> None:
        """Let others in."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._link.close()

    async def _watch(self) -> None:
        while not self.refusal:
            try:
                await asyncio.wait_for(self._link.lost.wait(), self._heartbeat)
            except TimeoutError:
                if await self._answers():
                    continue
                log.warning("the database does not answer", database=self.name)
                self._link.drop()
                self.on_silence()
            else:
                log.warning("the connection that holds the database's lock is lost", database=self.name)
            await self._regain()

    async def _answers(self) -> bool:
        try:
            connection = await self._link.use(0)
            await connection.execute("SELECT 1", timeout=self._heartbeat)
        except Exception:  # whatever it is, it is no answer
            return False
        return True

    async def _regain(self) -> None:
        """Return with the lock in hand, or with `refusal` set."""
        former = self._link.identity
        while True:
            try:
                connection = await self._link.use(None)
                if await _try_lock(connection):
                    if await connection.fetchval(_EPOCH) != self.epoch:
                        self.refuse("another server has used the database in the meantime")
                    else:
                        log.info("the database's lock is held again", database=self.name)
                    return
                found = await holder(connection)
            except Exception as error:
                if not is_lost(error):
                    log.warning("the database's lock cannot be taken", database=self.name, reason=reason(error))
                    await asyncio.sleep(LONGEST_PAUSE)
                continue
            if found is not None and found[:2] != former:
                self.refuse(f"{found[2] or 'another program'} has taken the database over")
                return
            await asyncio.sleep(_PAUSE)  # it is our own old one, about to end


async def lock(connection: asyncpg.Connection, name: str) -> None:
    """Take the lock of a server, until `connection` ends. Raises :class:`DatabaseInUse`."""
    deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
    while not await _try_lock(connection):
        if asyncio.get_running_loop().time() > deadline:
            raise in_use(name, await holder(connection))
        await asyncio.sleep(_PAUSE)


async def set_epoch(connection: asyncpg.Connection, epoch: int) -> None:
    """Shut out every server that has begun with another epoch; to be called in a transaction, with the lock in hand."""
    await connection.execute(_MAKE)
    if await connection.execute(_CLAIM, epoch) == "UPDATE 0":
        await connection.execute(_FILL)
        await connection.execute(_CLAIM, epoch)


async def holder(connection: asyncpg.Connection) -> tuple[int, Any, str] | None:
    """Who holds the lock of a server: process of PostgreSQL's, its start, name; None for nobody."""
    row = await connection.fetchrow(_HOLDER)
    return None if row is None else (row[0], row[1], row[2])


def in_use(name: str, found: tuple[int, Any, str] | None) -> DatabaseInUse:
    """The error for a database that somebody else has."""
    who = (found[2] if found is not None else "") or "another program"
    return DatabaseInUse(
        f"{name} is in use by {who}: stop that server first"
    )


async def _try_lock(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))
