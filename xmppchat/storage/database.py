"""Database: opens and migrates it, hands out the writer, answers queries.

The event loop never waits for it: each connection lives on a thread of its own, and a call is one hop there and back
however many statements it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, text
from sqlalchemy.exc import DBAPIError

from xmppchat.core.commit_gate import Settled, StorageUnavailable
from xmppchat.storage.faults import DatabaseError, DatabaseInUse, SchemaTooNew, reason, translate
from xmppchat.storage.migrate import migrate
from xmppchat.storage.sqlite import (
    ProcessLock,
    database_path,
    make_private,
    reading_engine,
    snapshot,
    writing_engine,
)
from xmppchat.storage.threads import ConnectionThreads
from xmppchat.storage.writer import GroupCommitWriter

__all__ = ["Database", "DatabaseError", "DatabaseInUse", "SchemaTooNew"]

#: Connections that read: one can be held up by a long query, and the others serve on.
READERS = 3
#: How long a lock of another program's (a backup, an admin's shell) is waited for, s.
BUSY_TIMEOUT = 30.0

Query = tuple[Any, Mapping[str, Any] | None]
Rows = Sequence[Row[Any]]


class Database:
    """An open database. Make it with :meth:`open`. `writer` takes all writes, `path` is its file."""

    def __init__(self, path: Path, lock: ProcessLock, on_settled: Settled | None, busy_timeout: float) -> None:
        self.path = path
        self._lock = lock
        self.writer = GroupCommitWriter(writing_engine(path, busy_timeout=busy_timeout), on_settled)
        reading = reading_engine(path, busy_timeout=busy_timeout)
        self._readers = ConnectionThreads(reading.connect, name="database-reader", count=READERS)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        on_settled: Settled | None = None,
        extra_tables: Sequence[Table] = (),
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Database:
        """Lock, migrate and open the database at `url` (``sqlite:///PATH``); an absent one is made.

        `on_settled` is told of tickets, it may be set later (``database.writer.on_settled``). Those of `extra_tables`
        that are missing are created. Raises :class:`DatabaseError`: :class:`DatabaseInUse`, :class:`SchemaTooNew`, or
        what else is in the way.
        """
        path = database_path(url)
        async with AsyncExitStack() as opened:
            try:
                lock = await asyncio.to_thread(_lock, path)
                opened.callback(lock.release)
                await asyncio.to_thread(_prepare, path, extra_tables, busy_timeout)
                database = cls(path, lock, on_settled, busy_timeout)
                opened.push_async_callback(database.writer.close)
                await database.writer.start()
                opened.push_async_callback(database._readers.close)
                await database._readers.start()
            except DBAPIError as error:
                raise DatabaseError(f"{path} cannot be opened: {reason(error) or error.orig}") from error
            except OSError as error:
                raise DatabaseError(f"{path} cannot be opened: {error.filename}: {error.strerror}") from error
            opened.pop_all()
        return database

    async def close(self) -> None:
        """Write what is queued, then close everything."""
        await self._readers.close()
        await self.writer.close()  # last, as its connection moves the log into the file
        self._lock.release()

    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Rows of one query. It sees what is committed, and cannot write.

        Raises :class:`~xmppchat.core.commit_gate.StorageUnavailable` where the database cannot be read.
        """
        return await self._readers.call(_fetch, statement, parameters)

    async def fetch_many(self, queries: Sequence[Query]) -> Sequence[Rows]:
        """Rows of several queries, which see the same state of the database, at little more than the cost of one."""
        return await self._readers.call(_fetch_many, queries)

    async def integrity_check(self) -> list[str]:
        """What SQLite finds wrong with the file, nothing if it is sound. Reads all of it: seconds per GiB."""
        return await self._readers.call(_integrity_check)


# --- on a thread ------------------------------------------------------------------------------------------------------

def _lock(path: Path) -> ProcessLock:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessLock.take(path)


def _prepare(path: Path, extra_tables: Sequence[Table], busy_timeout: float) -> None:
    make_private(path)
    engine = writing_engine(path, busy_timeout=busy_timeout)
    with engine.connect() as connection:
        migrate(connection, str(path))
        with connection.begin():
            for table in extra_tables:
                table.create(connection, checkfirst=True)


def _fetch(connection: Connection, statement: Any, parameters: Mapping[str, Any] | None) -> Rows:
    try:
        return connection.execute(statement, parameters).all()
    except Exception as error:
        fault = translate(error)
        if fault is error:
            raise
        raise fault from error


def _fetch_many(connection: Connection, queries: Sequence[Query]) -> list[Rows]:
    if len(queries) < 2:
        return [_fetch(connection, *query) for query in queries]
    with snapshot(connection):
        return [_fetch(connection, *query) for query in queries]


def _integrity_check(connection: Connection) -> list[str]:
    try:
        problems = [str(row[0]) for row in _fetch(connection, text("PRAGMA integrity_check"), None)]
    except StorageUnavailable as error:  # damaged so much that it cannot even be looked at
        return [str(error)]
    return [] if problems == ["ok"] else problems
